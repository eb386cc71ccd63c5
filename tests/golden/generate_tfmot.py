"""Golden data of tensorflow-model-optimization 0.8.1 and tensorflow-cpu 2.21.0: pruning masks, schedules, fake_quant.

    pip install -r requirements-tensorflow.txt
    python generate_tfmot.py OUTPUT_FOLDER

writes `tfmot_prune.safetensors` (masks), `tfmot_schedule.safetensors` and `tf_fake_quant.safetensors`.
"""

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # tfmot works with tf_keras only.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

from golden_file import GoldenFile

TFMOT = "tensorflow-model-optimization 0.8.1 on tensorflow-cpu 2.21.0, eager"
TENSORFLOW = "tensorflow-cpu 2.21.0, eager"

# Masks -------------------------------------------------------------------------------------------------------------

SPARSITIES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)

BLOCK_SPARSITIES = (0.25, 0.5, 0.75)


def pruning_result(weight, sparsity, block=(1, 1), pooling="AVG", m_by_n=None):
    """Threshold and mask that tfmot computes for one weight, as its pruning wrapper does at a pruning step."""
    variable = tf.Variable(weight)
    schedule = tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=0)
    mask = tf.Variable(tf.ones_like(variable))
    threshold = tf.Variable(0.0)
    pruning = pruning_impl.Pruning(
        training_step_fn=lambda: tf.constant(1, tf.int64),
        pruning_vars=[(variable, mask, threshold)],
        pruning_schedule=schedule,
        block_size=block,
        block_pooling_type=pooling,
        sparsity_m_by_n=m_by_n,
    )
    new_threshold, new_mask = pruning._maybe_update_block_mask(variable)
    return numpy.float32(new_threshold), new_mask.numpy() != 0


def with_ties(values):
    """The values rounded to quarters, which makes most magnitudes equal to others."""
    return (numpy.round(values * 4.0) / 4.0).astype(numpy.float32)


def generate_prune(folder):
    file = GoldenFile("tfmot_prune", TFMOT)
    random = numpy.random.default_rng(20)
    weights = {}
    for shape in ((7, 13), (64, 32), (8, 12), (10, 6), (5, 9)):
        values = random.standard_normal(shape).astype(numpy.float32)
        weights["x".join(map(str, shape))] = values
        weights["x".join(map(str, shape)) + "_ties"] = with_ties(values)
    weights["3x3x8x4"] = random.standard_normal((3, 3, 8, 4)).astype(numpy.float32)
    weights["2x2x6x3_ties"] = with_ties(random.standard_normal((2, 2, 6, 3)))
    shared = {}

    def add(name, options, weight, **arguments):
        threshold, mask = pruning_result(weights[weight], options.get("sparsity", 0.5), **arguments)
        arrays = {"mask": mask}
        if "m_by_n" not in arguments:
            arrays["threshold"] = threshold
        if weight not in shared:
            shared[weight] = file.share(f"weight.{weight}", weights[weight])
        file.case(name, options, arrays, {"weight": shared[weight]})

    for weight in ("7x13", "7x13_ties", "64x32", "64x32_ties", "3x3x8x4"):
        for sparsity in SPARSITIES:
            add(f"magnitude_{weight}_{sparsity}", {"method": "magnitude", "sparsity": sparsity}, weight)

    for weight in ("8x12", "7x13", "10x6", "5x9_ties"):
        for block in ((1, 4), (2, 2), (4, 4), (4, 1)):
            for pooling in ("AVG", "MAX"):
                for sparsity in BLOCK_SPARSITIES:
                    options = {"method": "block", "sparsity": sparsity, "block": list(block), "pooling": pooling}
                    name = f"block_{weight}_{block[0]}x{block[1]}_{pooling}_{sparsity}"
                    add(name, options, weight, block=block, pooling=pooling)

    for weight in ("8x12", "8x12_ties", "7x13", "7x13_ties", "10x6", "64x32", "3x3x8x4", "2x2x6x3_ties"):
        for m_by_n in ((2, 4), (1, 4), (3, 4), (1, 2)):
            options = {"method": "m_by_n", "zeros": m_by_n[0], "group": m_by_n[1]}
            add(f"m_by_n_{weight}_{m_by_n[0]}of{m_by_n[1]}", options, weight, m_by_n=m_by_n)
    file.save(folder)


# Schedules ---------------------------------------------------------------------------------------------------------

POLYNOMIALS = {
    # initial, final, begin, end, power, frequency, last step asked for, stride of the steps asked for
    "polynomial": (0.0, 0.8, 0, 40, 3, 4, 60, 1),
    "polynomial_begin": (0.1, 0.9, 7, 47, 3, 5, 60, 1),
    "polynomial_end_missed": (0.2, 0.75, 3, 50, 3, 10, 70, 1),
    "polynomial_linear": (0.0, 0.5, 10, 30, 1, 1, 40, 1),
    "polynomial_square": (0.5, 0.95, 0, 33, 2, 3, 40, 1),
    "polynomial_half_power": (0.0, 0.6, 0, 24, 0.5, 2, 30, 1),
    "polynomial_falling": (0.9, 0.3, 5, 45, 4, 8, 60, 1),
    "polynomial_no_range": (0.3, 0.3, 2, 20, 3, 6, 30, 1),
    "polynomial_default": (0.5, 0.8, 2000, 6000, 3, 100, 7000, 25),
    "polynomial_long": (0.0, 0.99, 1000, 101000, 3, 100, 110000, 500),
}

CONSTANTS = {
    # target, begin, end, frequency, last step asked for, stride
    "constant": (0.5, 0, -1, 10, 60, 1),
    "constant_begin": (0.3, 7, -1, 4, 60, 1),
    "constant_end": (0.9, 5, 36, 6, 60, 1),
    "constant_default_frequency": (0.75, 20, -1, 100, 600, 5),
}


def ask_schedule(schedule, last, stride):
    """`should_prune` and `sparsity` at the steps 0, stride, 2 * stride, ..., last (int64, as tfmot counts them)."""
    steps = numpy.arange(0, last + 1, stride, dtype=numpy.int64)
    answers = [schedule(tf.constant(step)) for step in steps]
    return {
        "steps": steps,
        "should_prune": numpy.array([bool(should) for should, _ in answers]),
        "sparsity": numpy.array([sparsity.numpy() for _, sparsity in answers], dtype=numpy.float32),
    }


def generate_schedule(folder):
    file = GoldenFile("tfmot_schedule", TFMOT)
    for name, (initial, final, begin, end, power, frequency, last, stride) in POLYNOMIALS.items():
        options = {
            "initial_sparsity": initial, "final_sparsity": final, "begin_step": begin, "end_step": end,
            "power": power, "frequency": frequency,
        }
        schedule = tfmot.sparsity.keras.PolynomialDecay(**options)
        file.case(name, {"schedule": "PolynomialDecay", **options}, ask_schedule(schedule, last, stride))
    for name, (target, begin, end, frequency, last, stride) in CONSTANTS.items():
        options = {"target_sparsity": target, "begin_step": begin, "end_step": end, "frequency": frequency}
        schedule = tfmot.sparsity.keras.ConstantSparsity(**options)
        file.case(name, {"schedule": "ConstantSparsity", **options}, ask_schedule(schedule, last, stride))
    file.save(folder)


# fake_quant --------------------------------------------------------------------------------------------------------

RANGES = {
    "symmetric": (-6.0, 6.0),
    "relu6": (0.0, 6.0),
    "asymmetric": (-1.0, 1.5),
    "skewed": (-0.3, 7.7),
    "all_positive": (0.5, 6.0),
    "all_negative": (-6.0, -0.5),
    "far_positive": (100.0, 101.0),
    "tiny": (-1e-6, 3e-6),
    "huge": (-1e30, 5e29),
    "empty": (0.0, 0.0),
}


def fake_quant_inputs(random, low, high, levels):
    """Values inside and outside the range, on the quantization steps, half way between them, and infinities."""
    width = max(high - low, 1e-3)
    step = width / levels
    inside = random.uniform(low, high if high > low else low + width, 50)
    outside = random.uniform(low - width, high + width, 30)
    halves = (numpy.arange(-12, 12) + 0.5) * step
    exact = numpy.arange(-8, 8) * step
    special = [0.0, -0.0, low, high, numpy.inf, -numpy.inf]
    return numpy.concatenate([inside, outside, halves, exact, special]).astype(numpy.float32)


def quarters(random, shape):
    """Output gradients that are small multiples of 1/4, so that their f32 sums are exact in any order."""
    return (random.integers(-12, 13, shape) / 4.0).astype(numpy.float32)


def generate_fake_quant(folder):
    file = GoldenFile("tf_fake_quant", TENSORFLOW)
    random = numpy.random.default_rng(21)
    for range_name, (low, high) in RANGES.items():
        grids = [(8, False), (8, True)]
        if range_name in ("symmetric", "relu6", "asymmetric"):
            grids.append((4, False))
        for bits, narrow in grids:
            x = fake_quant_inputs(random, low, high, 2**bits - 1 - narrow)
            gradient = quarters(random, x.shape)
            low32, high32 = numpy.float32(low), numpy.float32(high)
            y = tf.quantization.fake_quant_with_min_max_vars(x, low32, high32, bits, narrow)
            dx, dmin, dmax = tf.quantization.fake_quant_with_min_max_vars_gradient(
                gradient, x, low32, high32, bits, narrow
            )
            arrays = {
                "x": x, "gradient": gradient, "min": low32, "max": high32,
                "y": y.numpy(), "dx": dx.numpy(), "dmin": dmin.numpy(), "dmax": dmax.numpy(),
            }
            options = {"granularity": "tensor", "num_bits": bits, "narrow_range": narrow}
            file.case(f"tensor_{range_name}_{bits}bit{'_narrow' if narrow else ''}", options, arrays)

    low = numpy.array([low for low, _ in RANGES.values()], dtype=numpy.float32)
    high = numpy.array([high for _, high in RANGES.values()], dtype=numpy.float32)
    for bits, narrow in ((8, False), (8, True)):
        columns = [fake_quant_inputs(random, a, b, 2**bits - 1 - narrow)[::4] for a, b in RANGES.values()]
        x = numpy.ascontiguousarray(numpy.stack(columns, axis=1))
        gradient = quarters(random, x.shape)
        y = tf.quantization.fake_quant_with_min_max_vars_per_channel(x, low, high, bits, narrow)
        dx, dmin, dmax = tf.quantization.fake_quant_with_min_max_vars_per_channel_gradient(
            gradient, x, low, high, bits, narrow
        )
        arrays = {
            "x": x, "gradient": gradient, "min": low, "max": high,
            "y": y.numpy(), "dx": dx.numpy(), "dmin": dmin.numpy(), "dmax": dmax.numpy(),
        }
        options = {"granularity": "last axis", "num_bits": bits, "narrow_range": narrow}
        file.case(f"channel_{bits}bit{'_narrow' if narrow else ''}", options, arrays)
    file.save(folder)


def main():
    folder = sys.argv[1]
    versions = (tfmot.__version__, tf.__version__)
    if versions != ("0.8.1", "2.21.0"):
        raise RuntimeError(f"tfmot, tensorflow are {versions}")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    generate_prune(folder)
    generate_schedule(folder)
    generate_fake_quant(folder)


if __name__ == "__main__":
    main()
