//! The cost of layers. A calibration of the machine, measured in about a second, predicts how long a layer takes in each
//! format, and from which sparsity on a sparse one is faster. It can be saved as text, and holds for the instruction set
//! and the threads that it was measured with.

use crate::context::tersor_context;
use crate::ffi::Options;
use crate::packed::layer;
use crate::panic::export;
use crate::status::{Failure, Rename, tersor_status};
use std::ffi::{CString, c_char, c_void};
use tersor::linear::{Calibration, Format, Workload};

/// What was measured of a machine. Any number of threads may use one at the same time.
///
/// Since 0.1.
pub struct tersor_calibration {
    pub(crate) calibration: Calibration,
    isa: CString,
}

/// How the weights of a layer are stored: one of the constants below.
///
/// Since 0.1.
pub type tersor_format = u32;

/// Every weight, in f32: `tersor_pack_f32`. Since 0.1.
pub const TERSOR_FORMAT_F32: tersor_format = 1;
/// Every weight, in f16: `tersor_pack_f16`. Since 0.1.
pub const TERSOR_FORMAT_F16: tersor_format = 2;
/// Every weight, in bf16: `tersor_pack_bf16`. Since 0.1.
pub const TERSOR_FORMAT_BF16: tersor_format = 3;
/// Every weight, as an int8 code: `tersor_pack_i8`. Since 0.1.
pub const TERSOR_FORMAT_I8: tersor_format = 4;
/// The weights that are not zero, in f32: `tersor_pack_sparse_f32`. Since 0.1.
pub const TERSOR_FORMAT_SPARSE_F32: tersor_format = 5;
/// The int8 codes, or blocks of them, that are not zero: `tersor_pack_sparse_i8`. Since 0.1.
pub const TERSOR_FORMAT_SPARSE_I8: tersor_format = 6;
/// Every weight, as an int4 code: `tersor_pack_int4`. Since 0.1.
pub const TERSOR_FORMAT_INT4: tersor_format = 7;
/// Every weight, in bf16 for its dot product: `tersor_pack_bf16_dot`. Since 0.1.
pub const TERSOR_FORMAT_BF16_DOT: tersor_format = 8;

/// The formats, with the number of each.
const FORMATS: [(tersor_format, Format); 8] = [
    (TERSOR_FORMAT_F32, Format::F32),
    (TERSOR_FORMAT_F16, Format::F16),
    (TERSOR_FORMAT_BF16, Format::Bf16),
    (TERSOR_FORMAT_I8, Format::Int8),
    (TERSOR_FORMAT_SPARSE_F32, Format::SparseF32),
    (TERSOR_FORMAT_SPARSE_I8, Format::SparseInt8),
    (TERSOR_FORMAT_INT4, Format::Int4),
    (TERSOR_FORMAT_BF16_DOT, Format::Bf16Dot),
];

/// A layer without its weights, and how it is run. Fill it with `tersor_workload_init` or `tersor_workload_of_packed`, then
/// change fields.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_workload {
    /// The size of this struct, set by `tersor_workload_init`.
    pub struct_size: u32,
    /// How the weights are stored.
    pub format: tersor_format,
    /// The rows of x and y. Default 1.
    pub m: usize,
    /// The outputs of the layer.
    pub n: usize,
    /// The inputs of the layer.
    pub k: usize,
    /// How many threads run it. Default 1.
    pub threads: usize,
    /// The fraction of the weights that are zero, 0 to 1; only sparse formats look at it. Default 0.
    pub sparsity: f64,
    /// Outputs of the blocks in which weights are zero; 1 for weights that were pruned one by one. Default: of the blocks that
    /// the format skips best, 16 for a sparse one.
    pub block_outputs: usize,
    /// Inputs of these blocks. Default: 4 for sparse int8, else 1. 64 inputs (and 16 outputs) are what AMX skips in sparse int8.
    pub block_inputs: usize,
    /// Inputs that share a scale; only int4 looks at it. Default 128.
    pub group_size: usize,
    /// Not 0: the weights have zero points (int8 and int4). Default 0.
    pub zero_points: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_workload {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        of(&Workload::new(Format::F32, 0, 0))
    }
}

/// What a layer is predicted to cost.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_prediction {
    /// How the weights are stored.
    pub format: tersor_format,
    /// 0.
    pub reserved: u32,
    /// How long a call takes, from f32 to f32, when there was one before.
    pub seconds: f64,
    /// How many bytes the packed layer has; for a sparse format what is expected.
    pub bytes: usize,
}

/// Measures this machine, for the instruction set and the threads of the context. Takes about a second and 70 MB of
/// memory, on a machine that does nothing else. The clock of a processor moves: see `tersor_calibration_merge`. Measure with a
/// release build of the library: a debug build times its own, unoptimized code, and what it predicts is wrong for any other.
///
/// @param context          NULL is allowed
/// @param out_calibration  receives the calibration; pass it to `tersor_calibration_destroy` at the end
/// @return `TERSOR_E_ISA`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_measure(
    context: *const tersor_context,
    out_calibration: *mut *mut tersor_calibration,
) -> tersor_status {
    export(|caller| {
        let out = caller.out("out_calibration", out_calibration)?;
        let calibration = caller.context(context)?.scope(|| Calibration::measure(|_, _| ()))?;
        out.set(caller.give_calibration(with_isa(calibration)?));
        Ok(())
    })
}

/// Reads what `tersor_calibration_text` wrote.
///
/// @param text             ends with a 0
/// @param out_calibration  receives the calibration; pass it to `tersor_calibration_destroy` at the end
/// @return `TERSOR_E_LAYOUT` naming the line; `TERSOR_E_OUT_OF_RANGE` for what is not UTF-8
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_from_text(
    text: *const c_char,
    out_calibration: *mut *mut tersor_calibration,
) -> tersor_status {
    export(|caller| {
        let out = caller.out("out_calibration", out_calibration)?;
        let text = caller.string("text", text)?.ok_or_else(|| Failure::null("text"))?;
        out.set(caller.give_calibration(with_isa(text.parse().renamed(&[("calibration", "text")])?)?));
        Ok(())
    })
}

/// Two calibrations of the same machine in one: each call as long as it took at its shortest. What is measured in one second
/// says what that second was like; several, minutes apart, say what the machine is like.
///
/// @param a                one of them
/// @param b                the other
/// @param out_calibration  receives a new one; pass it to `tersor_calibration_destroy` at the end
/// @return `TERSOR_E_OUT_OF_RANGE` when they are of different instruction sets or numbers of threads
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_merge(
    a: *const tersor_calibration,
    b: *const tersor_calibration,
    out_calibration: *mut *mut tersor_calibration,
) -> tersor_status {
    export(|caller| {
        let (a, b) = (caller.calibration("a", a)?, caller.calibration("b", b)?);
        let out = caller.out("out_calibration", out_calibration)?;
        out.set(caller.give_calibration(with_isa(a.calibration.merge(&b.calibration)?)?));
        Ok(())
    })
}

/// Frees a calibration. No call may be using it. NULL is fine.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_destroy(calibration: *mut tersor_calibration) {
    export(|caller| {
        drop(caller.take_calibration(calibration));
        Ok(())
    });
}

/// The calibration as text, to be saved. Works as `snprintf` does: at most `capacity` bytes are written, always with a
/// terminating 0.
///
/// @param buffer      NULL is allowed, to ask for the length
/// @param capacity    the size of `buffer`
/// @param out_length  receives the length of the whole text, without the 0
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_text(
    calibration: *const tersor_calibration,
    buffer: *mut c_char,
    capacity: usize,
    out_length: *mut usize,
) -> tersor_status {
    export(|caller| {
        let text = caller.calibration("calibration", calibration)?.calibration.to_string();
        let out = caller.out("out_length", out_length)?;
        caller.write_string(&text, buffer, capacity);
        out.set(text.len());
        Ok(())
    })
}

/// The name of the instruction set that was measured.
///
/// @param out_name  receives the name; it lives as long as the calibration
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_isa(
    calibration: *const tersor_calibration,
    out_name: *mut *const c_char,
) -> tersor_status {
    export(|caller| {
        let calibration = caller.calibration("calibration", calibration)?;
        caller.out("out_name", out_name)?.set(calibration.isa.as_ptr());
        Ok(())
    })
}

/// The most threads that were measured; predictions are made for no more.
///
/// @param out_threads  receives the number
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_max_threads(
    calibration: *const tersor_calibration,
    out_threads: *mut usize,
) -> tersor_status {
    export(|caller| {
        let calibration = caller.calibration("calibration", calibration)?;
        caller.out("out_threads", out_threads)?.set(calibration.calibration.max_threads());
        Ok(())
    })
}

/// Fills `workload` for a layer of that shape: one row, one thread, no weight zero.
///
/// @param workload     the struct to fill
/// @param struct_size  `sizeof *workload`
/// @param format       `TERSOR_FORMAT_...`
/// @param n            the outputs of the layer
/// @param k            the inputs of the layer
/// @return `TERSOR_E_STRUCT_SIZE`; `TERSOR_E_OUT_OF_RANGE` for the format
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_workload_init(
    workload: *mut tersor_workload,
    struct_size: usize,
    format: tersor_format,
    n: usize,
    k: usize,
) -> tersor_status {
    export(|caller| {
        let value = of(&Workload::new(format_of("format", format)?, n, k));
        caller.init_with("workload", workload, struct_size, value)
    })
}

/// Fills `workload` for a packed layer, on one thread.
///
/// @param packed       a layer of any kind
/// @param m            the rows of x and y
/// @param workload     the struct to fill
/// @param struct_size  `sizeof *workload`
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_workload_of_packed(
    packed: *const c_void,
    packed_bytes: usize,
    m: usize,
    workload: *mut tersor_workload,
    struct_size: usize,
) -> tersor_status {
    export(|caller| {
        let value = of(&Workload::of(&layer(caller, packed, packed_bytes)?, m));
        caller.init_with("workload", workload, struct_size, value)
    })
}

/// Predicts what a layer costs.
///
/// @param workload        the layer, and how it is run
/// @param out_prediction  receives time and bytes
/// @return `TERSOR_E_STRUCT_SIZE`; `TERSOR_E_OUT_OF_RANGE` for a field, and for more threads than were measured;
///         `TERSOR_E_SIZE_OVERFLOW`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_predict(
    calibration: *const tersor_calibration,
    workload: *const tersor_workload,
    out_prediction: *mut tersor_prediction,
) -> tersor_status {
    export(|caller| {
        let calibration = caller.calibration("calibration", calibration)?;
        let workload = caller.workload("workload", workload)?;
        let out = caller.out("out_prediction", out_prediction)?;
        let cost = in_struct("workload", calibration.calibration.predict(&workload))?;
        out.set(prediction(workload.format, cost));
        Ok(())
    })
}

/// Predicts what a layer costs in every format that can hold it, the fastest first.
///
/// @param workload         the layer, and how it is run; sparse formats leave out what it says is zero
/// @param out_predictions  receives as many as there are formats, or `capacity`; NULL is allowed where that is 0
/// @param capacity         how many `out_predictions` holds; 7 are enough
/// @param out_count        receives how many formats there are
/// @return as `tersor_calibration_predict`, for the format of `workload`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_compare(
    calibration: *const tersor_calibration,
    workload: *const tersor_workload,
    out_predictions: *mut tersor_prediction,
    capacity: usize,
    out_count: *mut usize,
) -> tersor_status {
    export(|caller| {
        let calibration = caller.calibration("calibration", calibration)?;
        let workload = caller.workload("workload", workload)?;
        let out_count = caller.out("out_count", out_count)?;
        let costs = in_struct("workload", calibration.calibration.compare(&workload))?;
        let predictions: Vec<_> = costs.iter().map(|(format, cost)| prediction(*format, *cost)).collect();
        let written = predictions.get(..capacity.min(predictions.len())).unwrap_or_default();
        caller.write_all("out_predictions", written, out_predictions)?;
        out_count.set(predictions.len());
        Ok(())
    })
}

/// From which sparsity on the sparse layer is predicted to be faster than the dense one, whatever the sparsity above it.
///
/// @param dense         the layer to be faster than
/// @param sparse        the other, of the same shape or another; its sparsity does not matter
/// @param out_sparsity  receives 0 to 1, or 2 when it never is
/// @return as `tersor_calibration_predict`, for either
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_calibration_pays_from(
    calibration: *const tersor_calibration,
    dense: *const tersor_workload,
    sparse: *const tersor_workload,
    out_sparsity: *mut f64,
) -> tersor_status {
    export(|caller| {
        let calibration = caller.calibration("calibration", calibration)?;
        let (dense, sparse) = (caller.workload("dense", dense)?, caller.workload("sparse", sparse)?);
        let out = caller.out("out_sparsity", out_sparsity)?;
        let calibration = &calibration.calibration;
        // Whatever is wrong with one of them is found here, under its name.
        in_struct("dense", calibration.predict(&dense))?;
        in_struct("sparse", calibration.predict(&Workload { sparsity: 0.0, ..sparse }))?;
        out.set(calibration.pays_from(&dense, &sparse)?.unwrap_or(2.0));
        Ok(())
    })
}

impl tersor_workload {
    /// What it says, as Rust has it.
    pub(crate) fn checked(&self, argument: &str) -> Result<Workload, Failure> {
        Failure::unless_zero(&format!("{argument}.reserved"), self.reserved)?;
        Ok(Workload {
            format: format_of(&format!("{argument}.format"), self.format)?,
            outputs: self.n,
            inputs: self.k,
            sparsity: self.sparsity,
            block: (self.block_outputs, self.block_inputs),
            group_size: self.group_size,
            zero_points: self.zero_points != 0,
            rows: self.m,
            threads: self.threads,
        })
    }
}

/// The failure with the names of the fields of the struct that is passed as `argument`.
fn in_struct<T>(argument: &str, result: tersor::Result<T>) -> Result<T, Failure> {
    const FIELDS: [(&str, &[&str]); 9] = [
        ("sparsity", &["sparsity"]),
        ("block", &["block_outputs", "block_inputs"]),
        ("threads", &["threads"]),
        ("group_size", &["group_size"]),
        ("in_features", &["k"]),
        ("weights", &["n", "k"]),
        ("the number of weights", &["n", "k"]),
        ("x", &["m", "k"]),
        ("y", &["m", "n"]),
    ];
    let names = FIELDS.map(|(name, fields)| {
        let fields: Vec<_> = fields.iter().map(|field| format!("{argument}.{field}")).collect();
        (name, fields.join(" x "))
    });
    result.renamed(&names.each_ref().map(|(name, fields)| (*name, fields.as_str())))
}

fn of(workload: &Workload) -> tersor_workload {
    tersor_workload {
        struct_size: size_of::<tersor_workload>() as u32,
        format: number_of(workload.format),
        m: workload.rows,
        n: workload.outputs,
        k: workload.inputs,
        threads: workload.threads,
        sparsity: workload.sparsity,
        block_outputs: workload.block.0,
        block_inputs: workload.block.1,
        group_size: workload.group_size,
        zero_points: u32::from(workload.zero_points),
        reserved: 0,
    }
}

fn prediction(format: Format, cost: tersor::linear::Prediction) -> tersor_prediction {
    tersor_prediction { format: number_of(format), reserved: 0, seconds: cost.seconds, bytes: cost.bytes }
}

fn number_of(format: Format) -> tersor_format {
    FORMATS.iter().find(|(_, known)| *known == format).map_or(0, |(number, _)| *number)
}

fn format_of(argument: &str, number: tersor_format) -> Result<Format, Failure> {
    let found = FORMATS.iter().find(|(known, _)| *known == number);
    found.map(|(_, format)| *format).ok_or_else(|| {
        let limit = format!("1 to {}, as TERSOR_FORMAT_ names them", FORMATS.len());
        Failure::out_of_range(argument, number, limit)
    })
}

fn with_isa(calibration: Calibration) -> Result<tersor_calibration, Failure> {
    let isa = CString::new(calibration.isa())
        .map_err(|_| Failure::out_of_range("isa", calibration.isa(), "a name without 0"))?;
    Ok(tersor_calibration { calibration, isa })
}
