//! The cost model: what it says of bytes is what packing gives, and what it says of time keeps its promises whatever was
//! measured. Whether times are right is for the bench `cost` to show.

#![cfg(feature = "linear")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::Array2;
use support::Random;
use tersor::linear::{Calibration, Format, PackedLinear, Weights, Workload};
use tersor::{Error, bf16, f16};

const FORMATS: [Format; 8] = [
    Format::F32,
    Format::F16,
    Format::Bf16,
    Format::Bf16Dot,
    Format::Int8,
    Format::Int4,
    Format::SparseF32,
    Format::SparseInt8,
];

/// What `cargo bench --bench cost -- --seed 1 --calibration` printed once, on two threads of a machine with AVX-512.
fn text() -> &'static str {
    include_str!("support/calibration.txt")
}

/// The same with AMX.
fn matrix_text() -> &'static str {
    include_str!("support/calibration_amx.txt")
}

fn calibration() -> Calibration {
    text().parse().unwrap()
}

fn seconds(calibration: &Calibration, workload: &Workload) -> f64 {
    calibration.predict(workload).unwrap().seconds
}

#[test]
fn text_and_back_is_the_same_calibration() {
    let calibration = calibration();
    assert_eq!(calibration.to_string().parse::<Calibration>().unwrap(), calibration);
    assert_eq!((calibration.isa(), calibration.max_threads()), ("avx512", 2));
    let matrix: Calibration = matrix_text().parse().unwrap();
    assert_eq!(matrix.to_string().parse::<Calibration>().unwrap(), matrix);
    assert_eq!((matrix.isa(), matrix.max_threads()), ("amx", 2));
    let spaced = text().replace('\n', "\r\n\n  # a comment\n");
    assert_eq!(spaced.parse::<Calibration>().unwrap(), calibration);
}

#[test]
fn every_damaged_line_is_named() {
    let lines: Vec<&str> = text().lines().collect();
    // What parses a line does not know which kernel it is of: without optimization, those of some will do.
    let is_tried = |line: &str| {
        !cfg!(debug_assertions)
            || ["f32.", "int4.output", "sparse-int8-1x4.", "sparse-int8-1x1.stall"]
                .iter()
                .any(|key| line.starts_with(key))
            || !line.contains('.')
    };
    let refused = |lines: &[String], number: usize| {
        let error = lines.join("\n").parse::<Calibration>().unwrap_err();
        let Error::Layout { argument, reason } = error else { panic!("{error}") };
        assert_eq!(argument, "calibration");
        // The line itself, the one before it, or whichever means something after it.
        let after = lines.iter().skip(number).position(|line| !line.starts_with('#')).unwrap_or(0);
        let named = (number.max(2) - 1..=number + 1 + after).any(|line| {
            reason.starts_with(&format!("line {line} ")) || reason.ends_with(&format!("line {line}"))
        });
        assert!(named, "{reason}: not about {number}");
    };
    let mut random = Random(1);
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#') && is_tried(line))
    {
        let number = index + 1;
        let owned: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
        let with = |line: String| {
            let mut changed = owned.clone();
            changed[index] = line;
            changed
        };
        if !line.starts_with("threads") {
            // Twice, and not at all.
            refused(&[&owned[..number], &owned[index..]].concat(), number + 1);
            refused(&[&owned[..index], &owned[number..]].concat(), number);
        }
        if index > 0 {
            refused(&owned[..index], index);
        }
        refused(&with(format!("{line} 1 2")), number);
        refused(&with(format!("x{line}")), number);
        let words: Vec<&str> = line.split(' ').collect();
        if words.len() > 2 {
            let word = 1 + random.bits() as usize % (words.len() - 1);
            for bad in ["nan", "inf", "-1", "1e300", "1e-", "0x10", "ä", "", "1,5"] {
                let mut words = words.clone();
                words[word] = bad;
                refused(&with(words.join(" ")), number);
            }
        }
    }
    let step = if cfg!(debug_assertions) { 97 } else { 1 };
    for cut in (0..text().len() - 2).step_by(step) {
        if let Some(cut) = text().get(..cut) {
            // Not every number that is cut short is one that is wrong, but the end is missing.
            assert!(cut.parse::<Calibration>().is_err() || cut.lines().count() == lines.len());
        }
    }
    for foreign in ["", "\n", "tersor-calibration 2", "{\"isa\": 1}", "isa avx512", "\u{0}\u{ffff}"] {
        assert!(matches!(foreign.parse::<Calibration>(), Err(Error::Layout { .. })), "{foreign:?}");
    }
    let falling = |line: &str| text().replacen(line, &line.replace("threads 2", "threads 1"), 1);
    let threads = lines.iter().find(|line| line.starts_with("threads")).unwrap();
    assert!(falling(threads).parse::<Calibration>().is_err());
}

/// A text of before a kernel was measured, or of after it is known no more.
#[test]
fn a_kernel_that_is_missing_or_unknown_is_named() {
    let without = |kernel: &str| -> String {
        let lines = text().lines().filter(|line| !line.starts_with(kernel));
        lines.flat_map(|line| [line, "\n"]).collect()
    };
    for kernel in ["sparse-int8-1x1.", "sparse-int8-16x4.", "int4."] {
        let error = without(kernel).parse::<Calibration>().unwrap_err().to_string();
        assert!(error.contains(&format!("{kernel}staging.1\" is needed")), "{error}");
    }
    let error = format!("{}sparse-int4-1x1.staging.1 1\n", text()).parse::<Calibration>().unwrap_err();
    assert!(error.to_string().contains("sparse-int4-1x1.staging.1 1\": the end is needed"), "{error}");
}

/// What is measured depends on whether there is a matrix unit.
#[test]
fn a_calibration_under_the_name_of_another_instruction_set_is_refused() {
    let error = text().replacen("isa avx512", "isa amx", 1).parse::<Calibration>().unwrap_err().to_string();
    assert!(error.contains("\"int8.staging.256\" is needed"), "{error}");
    let error = matrix_text().replacen("isa amx", "isa avx512", 1).parse::<Calibration>().unwrap_err();
    assert!(error.to_string().contains("\"int8.staging.128\" is needed"), "{error}");
}

#[test]
fn times_that_fall_are_refused() {
    let fast = text().lines().map(|line| match line.strip_prefix("int8.output.8 ") {
        Some(numbers) => format!("int8.output.8 {}", vec!["0"; numbers.split(' ').count()].join(" ")),
        None => line.to_owned(),
    });
    let error = fast.collect::<Vec<_>>().join("\n").parse::<Calibration>().unwrap_err();
    assert!(error.to_string().contains("falls"), "{error}");
}

#[test]
fn more_panels_of_rows_are_never_faster() {
    more_panels_are_never_faster(&calibration());
    more_panels_are_never_faster(&matrix_text().parse().unwrap());
}

fn more_panels_are_never_faster(calibration: &Calibration) {
    let step = if cfg!(debug_assertions) { 7 } else { 1 };
    for format in FORMATS {
        for (outputs, inputs) in [(1, 1), (64, 64), (100, 1000), (4096, 4096), (509, 11_008)] {
            for threads in [1, 2] {
                for sparsity in [0.0, 0.7] {
                    let workload = Workload { sparsity, threads, ..Workload::new(format, outputs, inputs) };
                    let mut before = 0.0;
                    // Fewer rows than a panel may take longer than the whole panel: they are laid side by side one by one.
                    for rows in (0..300).step_by(16).chain((304..3000).step_by(16 * step)) {
                        let time = seconds(calibration, &Workload { rows, ..workload });
                        // Pieces need not fit the threads as well as fewer rows did.
                        let least = if threads == 1 { before } else { 0.5 * before };
                        assert!(time.is_finite() && time >= least, "{workload:?} {rows}: {time} {before}");
                        before = time;
                    }
                }
            }
        }
    }
}

/// A matrix unit takes inputs 64 at a time; rows that it does not multiply do not know of that.
#[test]
fn inputs_of_a_matrix_unit_are_whole_steps() {
    let calibration: Calibration = matrix_text().parse().unwrap();
    let time = |format: Format, rows: usize, inputs: usize| {
        let group_size = if format == Format::Int4 { 64 } else { inputs };
        let block = (1, 1);
        let sparsity = if format.is_sparse() { 0.5 } else { 0.0 };
        let layer = Workload { rows, group_size, block, sparsity, ..Workload::new(format, 1024, inputs) };
        seconds(&calibration, &layer)
    };
    for format in [Format::Int8, Format::Int4, Format::SparseInt8] {
        for rows in [64, 200, 1000] {
            let [before, even, beyond] = [1020, 1024, 1028].map(|inputs| time(format, rows, inputs));
            assert!((0.98 * even..=even).contains(&before), "{format} {rows}: {before} {even}");
            assert!(beyond > 1.02 * even, "{format} {rows}: {beyond} {even}");
        }
        let [odd, even] = [1020, 1024].map(|inputs| time(format, 1, inputs));
        assert!(odd < even, "{format}: {odd} {even}");
    }
    // Larger groups are the unit's, smaller ones are not.
    let group = |group_size: usize| {
        let layer = Workload { rows: 256, group_size, ..Workload::new(Format::Int4, 1024, 1024) };
        seconds(&calibration, &layer)
    };
    assert!(
        group(128) < group(64) && 1.3 * group(64) < group(60),
        "{} {} {}",
        group(128),
        group(64),
        group(60)
    );
    assert!(group(60) <= group(32));
}

/// A calibration in which all times of a kernel are three times as long.
fn slower(text: &str, kernel: &str) -> Calibration {
    changed(text, kernel, |time| 3.0 * time)
}

/// With other numbers in the lines that begin so.
fn changed(text: &str, kernel: &str, change: fn(f64) -> f64) -> Calibration {
    let line = |line: &str| match line.strip_prefix(kernel) {
        Some(_) => {
            let (key, numbers) = line.split_once(' ').unwrap();
            let numbers = numbers.split(' ').map(|word| change(word.parse().unwrap()).to_string());
            format!("{key} {}", numbers.collect::<Vec<_>>().join(" "))
        }
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n").parse().unwrap()
}

/// What reading weights takes longer from far away counts where they are far away, and not where they are no more than the weights
/// of the layers whose outputs were measured.
#[test]
fn near_weights_wait_for_nothing() {
    let later = |lines| changed(text(), lines, |time| time + 0.1);
    let (machine, waiting, several) = (&calibration(), later("int8.stall"), later("int8.rows-stall"));
    for rows in [1, 8] {
        let layer = |outputs| Workload { rows, ..Workload::new(Format::Int8, outputs, 1024) };
        let waiting = if rows == 1 { &waiting } else { &several };
        for outputs in [32, 256, 480] {
            assert_eq!(seconds(machine, &layer(outputs)), seconds(waiting, &layer(outputs)), "{outputs}");
        }
        let [some, all] =
            [768, 8192].map(|outputs| seconds(waiting, &layer(outputs)) - seconds(machine, &layer(outputs)));
        assert!(some > 0.0 && all > 11.0 * some, "{some} {all}");
    }
}

/// Wide blocks: what a matrix unit took of them where there is one, else what blocks of 16x4 take.
#[test]
fn wide_blocks_are_predicted_by_the_kernel_that_runs() {
    let matrix: Calibration = matrix_text().parse().unwrap();
    let [wide_slower, narrow_slower] =
        ["sparse-int8-16x64.", "sparse-int8-16x4."].map(|kernel| slower(matrix_text(), kernel));
    for rows in [1, 2, 3, 16, 37, 128, 600] {
        for sparsity in [0.0, 0.3, 0.5, 0.75, 0.9] {
            let format = Format::SparseInt8;
            let wide = Workload { rows, sparsity, block: (16, 64), ..Workload::new(format, 1024, 1000) };
            let narrow = Workload { block: (16, 4), ..wide };
            let time = seconds(&matrix, &wide);
            assert!((seconds(&wide_slower, &wide) / time - 3.0).abs() < 1e-6, "{wide:?}");
            assert_eq!(seconds(&narrow_slower, &wide), time, "{wide:?}");
            assert_eq!(seconds(&matrix, &Workload { block: (32, 128), ..wide }), time, "{wide:?}");
            // Where nothing is zero, these are whole runs as well.
            if sparsity > 0.0 {
                assert_eq!(seconds(&wide_slower, &narrow), seconds(&matrix, &narrow), "{narrow:?}");
                assert!(rows < 16 || time < seconds(&matrix, &narrow), "{wide:?}");
            }
            assert_eq!(seconds(&calibration(), &wide), seconds(&calibration(), &narrow));
        }
    }
}

/// Of layers that store weights one by one: what their own kernel took, whatever else is measured.
#[test]
fn layers_with_bitmaps_are_predicted_by_their_own_kernel() {
    let calibration = calibration();
    let slower = |kernel: &str| slower(text(), kernel);
    let (bitmaps, others) = (slower("sparse-int8-1x1."), slower("sparse-int8-1x4."));
    let dense = slower("int8.");
    for (rows, threads) in [(1, 1), (1, 2), (3, 1), (16, 2), (100, 1), (300, 1)] {
        for sparsity in [0.3, 0.5, 0.75, 0.9] {
            let single = Workload {
                rows,
                threads,
                sparsity,
                block: (1, 1),
                ..Workload::new(Format::SparseInt8, 1111, 768)
            };
            let [before, slow] = [&calibration, &bitmaps].map(|calibration| seconds(calibration, &single));
            assert!(threads == 2 || (slow / before - 3.0).abs() < 1e-6, "{single:?}: {before} {slow}");
            assert!(slow > 2.0 * before, "{single:?}: {before} {slow}");
            assert_eq!(seconds(&others, &single), before);
            assert!(threads == 2 || seconds(&dense, &single) == before);
        }
        // A quarter of the blocks of 1x4 are lists, half of them bitmaps.
        for (sparsity, kernel) in [(0.75, &others), (0.5, &bitmaps)] {
            let low = Workload {
                rows,
                threads,
                sparsity,
                block: (1, 4),
                ..Workload::new(Format::SparseInt8, 1111, 768)
            };
            assert!(seconds(kernel, &low) > 2.0 * seconds(&calibration, &low), "{low:?}");
        }
    }
}

#[test]
fn more_zeros_are_never_slower() {
    let (calibration, matrix) = (calibration(), matrix_text().parse().unwrap());
    for (calibration, format, block) in [
        (&calibration, Format::SparseF32, (16, 1)),
        (&calibration, Format::SparseInt8, (16, 4)),
        (&calibration, Format::SparseF32, (32, 2)),
        (&calibration, Format::F32, (1, 1)),
        (&matrix, Format::SparseInt8, (16, 64)),
    ] {
        for (outputs, inputs, rows) in [(64, 64, 1), (100, 1000, 7), (4096, 4096, 64), (4096, 256, 200)] {
            let workload = Workload { block, rows, ..Workload::new(format, outputs, inputs) };
            let times: Vec<f64> = (0..=50)
                .map(|step| seconds(calibration, &Workload { sparsity: f64::from(step) / 50.0, ..workload }))
                .collect();
            assert!(times.is_sorted_by(|a, b| a >= b), "{workload:?}: {times:?}");
            assert_eq!(times[0] > times[50], format.is_sparse());
        }
    }
}

#[test]
fn bytes_of_dense_layers_are_those_of_packing() {
    for (outputs, inputs) in [(1, 1), (33, 65), (64, 256), (100, 7)] {
        let floats = Array2::<f32>::ones((outputs, inputs));
        let codes = Array2::<i8>::ones((outputs, inputs));
        let f16 = floats.map(|value| f16::from_f32(*value));
        let bf16 = floats.map(|value| bf16::from_f32(*value));
        let mut layers = vec![
            PackedLinear::new(floats.view()).unwrap(),
            PackedLinear::new(f16.view()).unwrap(),
            PackedLinear::new(bf16.view()).unwrap(),
        ];
        for zero in [0, 1] {
            layers.push(PackedLinear::new(Weights::int8(codes.view(), &[1.0], &[zero])).unwrap());
            for group_size in [4, 32, 999] {
                let groups = (outputs, inputs.div_ceil(group_size));
                let (scales, zeros) = (Array2::ones(groups), Array2::from_elem(groups, zero));
                let int4 = Weights::int4(codes.view(), group_size, scales.view(), Some(zeros.view()));
                let layer = PackedLinear::new(int4).unwrap();
                let said = Workload {
                    group_size,
                    zero_points: zero != 0,
                    ..Workload::new(Format::Int4, outputs, inputs)
                };
                assert_eq!(said.packed_bytes().unwrap(), layer.as_bytes().len());
                layers.push(layer);
            }
        }
        for layer in layers {
            let workload = Workload::of(&layer, 3);
            assert_eq!((workload.format, workload.rows, workload.threads), (layer.format(), 3, 1));
            assert_eq!(workload.packed_bytes().unwrap(), layer.as_bytes().len(), "{layer:?}");
            assert_eq!(calibration().predict(&workload).unwrap().bytes, layer.as_bytes().len());
        }
    }
}

#[test]
fn merging_keeps_each_call_at_its_shortest() {
    let calibration = calibration();
    assert_eq!(calibration.merge(&calibration).unwrap(), calibration);
    let matrix: Calibration = matrix_text().parse().unwrap();
    assert_eq!(matrix.merge(&matrix).unwrap(), matrix);
    // Twice as slow at everything, or for a while.
    let slower = |disturbed: &dyn Fn(&str) -> bool| -> Calibration {
        let line = |line: &str| {
            if line.starts_with('#') || !disturbed(line) {
                return line.to_owned();
            }
            let words = line.split(' ').enumerate().map(|(index, word)| match word.parse::<f64>() {
                Ok(number) if index > usize::from(line.starts_with("threads")) => (2.0 * number).to_string(),
                _ => word.to_owned(),
            });
            words.collect::<Vec<_>>().join(" ")
        };
        text().lines().map(line).collect::<Vec<_>>().join("\n").parse().unwrap()
    };
    let is_timed = |line: &str| line.contains('.') || line.starts_with("threads");
    let half = |line: &str| is_timed(line) && (line.starts_with("int") || line.starts_with("sparse"));
    let halves = [slower(&|line: &str| half(line)), slower(&|line: &str| is_timed(line) && !half(line))];
    for other in [slower(&is_timed), halves[0].clone(), halves[1].clone()] {
        assert_ne!(other, calibration);
        assert_eq!(other.merge(&calibration).unwrap(), calibration);
        assert_eq!(calibration.merge(&other).unwrap(), calibration);
    }
    assert_eq!(halves[0].merge(&halves[1]).unwrap(), calibration);
}

#[test]
fn only_calibrations_of_the_same_machine_merge() {
    let calibration = calibration();
    let refused = |from: &str, to: &str, parts: [&str; 2]| {
        let other: Calibration = text().replacen(from, to, 1).parse().unwrap();
        let message = calibration.merge(&other).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    refused("isa avx512", "isa avx2", ["avx512", "avx2"]);
    refused("threads 2 ", "threads 4 ", ["[2]", "[4]"]);
}

/// Weights that are zero in blocks, each with probability `sparsity`.
fn pruned(shape: (usize, usize), block: (usize, usize), sparsity: f64, random: &mut Random) -> Array2<f32> {
    let blocks = (shape.0.div_ceil(block.0), shape.1.div_ceil(block.1));
    let alive = Array2::from_shape_simple_fn(blocks, || random.bits() as f64 / 2_f64.powi(64) >= sparsity);
    Array2::from_shape_fn(shape, |(n, k)| f32::from(u8::from(alive[[n / block.0, k / block.1]])))
}

#[test]
fn bytes_of_sparse_layers_are_those_of_packing() {
    let mut random = Random(7);
    for shape in [(256, 512), (500, 333)] {
        for block in [(1, 1), (1, 4), (16, 1), (16, 4), (16, 64), (4, 4), (32, 8), (32, 128)] {
            for sparsity in [0.0, 0.2, 0.5, 0.9, 1.0] {
                let floats = pruned(shape, block, sparsity, &mut random);
                let codes = floats.map(|value| *value as i8);
                for weights in [Weights::from(floats.view()), Weights::int8(codes.view(), &[1.0], &[])] {
                    let layer = PackedLinear::new(weights.sparse()).unwrap();
                    let exact = layer.as_bytes().len();
                    let of = Workload::of(&layer, 1);
                    assert_eq!(of.packed_bytes().unwrap(), exact, "{layer:?} {of:?}");
                    let said =
                        Workload { sparsity, block, ..Workload::new(layer.format(), shape.0, shape.1) };
                    let expected = said.packed_bytes().unwrap();
                    // Blocks are drawn: so many of them are alive, give or take four deviations.
                    let blocks = (shape.0 / block.0 * (shape.1 / block.1)) as f64;
                    let deviation = (sparsity * (1.0 - sparsity) * blocks).sqrt() / blocks;
                    let room =
                        4.0 * deviation * layer.as_bytes().len() as f64 / (1.0 - sparsity).max(0.1) + 64.0;
                    let off = expected.abs_diff(exact) as f64;
                    assert!(off <= room, "{layer:?} {said:?}: {expected} {exact}");
                }
            }
        }
    }
}

#[test]
fn it_pays_where_the_prediction_is_faster_and_nowhere_below() {
    let calibration = calibration();
    let mut found = 0;
    for (dense, sparse) in [(Format::F32, Format::SparseF32), (Format::Int8, Format::SparseInt8)] {
        for block in [(1, 1), sparse.block().unwrap()] {
            for (outputs, inputs, rows) in
                [(3072, 768, 1), (3072, 768, 128), (509, 1021, 37), (4096, 4096, 1)]
            {
                let dense = Workload { rows, ..Workload::new(dense, outputs, inputs) };
                let sparse = Workload { format: sparse, block, ..dense };
                let limit = seconds(&calibration, &dense);
                let at = |sparsity: f64| seconds(&calibration, &Workload { sparsity, ..sparse });
                match calibration.pays_from(&dense, &sparse).unwrap() {
                    Some(from) => {
                        found += 1;
                        assert!((0.0..=1.0).contains(&from));
                        (0..=100).for_each(|step| {
                            assert!(at(from + (1.0 - from) * f64::from(step) / 100.0) < limit, "{sparse:?}");
                        });
                        assert!(from == 0.0 || at(from - 1e-4) >= limit, "{sparse:?} {from}");
                    }
                    None => assert!(at(1.0) >= limit),
                }
            }
        }
    }
    assert!(found > 8, "{found}");
    let [small, large] = [64, 4096].map(|outputs| Workload::new(Format::Int8, outputs, 1024));
    assert_eq!(
        calibration.pays_from(&large, &Workload { format: Format::SparseInt8, ..small }).unwrap(),
        Some(0.0)
    );
    assert_eq!(calibration.pays_from(&small, &large).unwrap(), None);
}

#[test]
fn a_comparison_has_every_format_that_holds_the_layer() {
    let calibration = calibration();
    let workload =
        Workload { rows: 16, sparsity: 0.9, block: (16, 4), ..Workload::new(Format::F32, 512, 512) };
    let costs = calibration.compare(&workload).unwrap();
    assert_eq!(costs.len(), FORMATS.len());
    assert!(costs.is_sorted_by(|a, b| a.1.seconds <= b.1.seconds));
    for (format, cost) in &costs {
        assert_eq!(calibration.predict(&Workload { format: *format, ..workload }).unwrap(), *cost);
    }
    // More inputs than int8 and sparse formats take.
    let long = Workload { inputs: 200_000, ..workload };
    let formats: Vec<Format> =
        calibration.compare(&long).unwrap().into_iter().map(|(format, _)| format).collect();
    assert!(formats.contains(&Format::Int4) && !formats.contains(&Format::Int8), "{formats:?}");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_name_and_limit() {
    let calibration = calibration();
    let good = Workload::new(Format::SparseInt8, 64, 64);
    let refused = |workload: Workload, parts: [&str; 3]| {
        let message = calibration.predict(&workload).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(calibration.pays_from(&good, &workload).is_err() || parts[0] == "sparsity");
    };
    for sparsity in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
        refused(Workload { sparsity, ..good }, ["sparsity", &sparsity.to_string(), "0 to 1"]);
    }
    refused(Workload { block: (0, 4), ..good }, ["block", "0x4", "at least 1x1"]);
    refused(Workload { threads: 0, ..good }, ["threads", "0", "1 to 2"]);
    refused(Workload { threads: 3, ..good }, ["threads", "3", "1 to 2"]);
    refused(Workload { format: Format::Int4, group_size: 6, ..good }, ["group_size", "6", "a multiple of 4"]);
    refused(Workload { inputs: 70_000, ..good }, ["in_features", "70000", "at most 65793"]);
    refused(Workload { outputs: usize::MAX, ..good }, ["weights", &usize::MAX.to_string(), "overflows"]);
    refused(Workload { rows: usize::MAX, ..good }, ["x", &usize::MAX.to_string(), "overflows"]);
    let nothing = Workload { rows: 0, ..good };
    assert_eq!(calibration.predict(&nothing).unwrap().seconds, 0.0);
    for (outputs, inputs) in [(0, 0), (0, 8), (8, 0)] {
        for format in FORMATS {
            let cost =
                calibration.predict(&Workload { rows: 2, ..Workload::new(format, outputs, inputs) }).unwrap();
            assert!(cost.seconds.is_finite() && cost.bytes >= 128);
        }
    }
}

/// `cargo test --release --test linear_cost -- --ignored`: too slow without optimization and under emulation.
#[test]
#[ignore = "runs every kernel for a second"]
fn a_machine_is_measured_and_tells_its_progress() {
    let mut steps = Vec::new();
    let calibration = Calibration::measure(|done, total| steps.push((done, total))).unwrap();
    assert!(steps.is_sorted() && steps.last().is_some_and(|(done, total)| done == total));
    assert_eq!(calibration.isa(), tersor::Context::current().unwrap().isa().name());
    assert_eq!(calibration.to_string().parse::<Calibration>().unwrap(), calibration);
    for format in FORMATS {
        assert!(seconds(&calibration, &Workload::new(format, 512, 512)) > 0.0, "{format}");
    }
}
