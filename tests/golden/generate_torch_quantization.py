"""Golden data of torch 2.15.0: fake quantization, observers, quantized codes; and the casts to 16-bit floats.

    pip install -r requirements-torch.txt
    python generate_torch_quantization.py OUTPUT_FOLDER

writes `torch_quant.safetensors` and `torch_cast.safetensors`. The casts are checked against numpy 2.4.6 (f16) and
ml_dtypes 0.6.0 (bf16) as they are made. As in `generate_torch.py`, the kernels without FMA are chosen.
"""

import os
import sys
import warnings

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # Read when torch is imported.

import ml_dtypes
import numpy
import torch
from torch.ao.quantization import observer

from golden_file import GoldenFile

TORCH = "torch 2.15.0, ATEN_CPU_CAPABILITY=default, one thread"
CASTS = f"{TORCH}; numpy 2.4.6; ml_dtypes 0.6.0"

# Fake quantization -------------------------------------------------------------------------------------------------

# name: scale, zero point, smallest and largest code
GRIDS = {
    "u8": (0.1, 37, 0, 255),
    "u8_quarter": (0.25, 128, 0, 255),
    "i8": (0.03, 0, -128, 127),
    "i8_symmetric": (0.5, 0, -127, 127),
    "i8_shifted": (0.7, -100, -128, 127),
    "reduced": (0.2, 10, 0, 127),
    "four_bits": (0.3, 7, 0, 15),
    "tiny_scale": (1e-7, 3, -128, 127),
    "huge_scale": (1e30, -5, -128, 127),
}


def quantizable(random, scale, zero_point, low, high):
    """Values inside and outside the grid, on it, half way between its codes, at its ends, and both zeros."""
    scale = numpy.float32(scale)
    first, last = (low - zero_point) * scale, (high - zero_point) * scale
    inside = random.uniform(first, last, 40).astype(numpy.float32)
    outside = random.uniform(first - 50 * scale, last + 50 * scale, 24).astype(numpy.float32)
    halves = (numpy.arange(-10, 10) + 0.5).astype(numpy.float32) * scale
    exact = numpy.arange(-6, 6).astype(numpy.float32) * scale
    ends = numpy.array([low - 1, low - 0.5, low, high, high + 0.5, high + 1], dtype=numpy.float32)
    ends = (ends - numpy.float32(zero_point)) * scale
    return numpy.concatenate([inside, outside, halves, exact, ends, numpy.array([0.0, -0.0], dtype=numpy.float32)])


def quarters(random, shape):
    """Output gradients that are small multiples of 1/4."""
    return (random.integers(-12, 13, shape) / 4.0).astype(numpy.float32)


def add_fake_quantize(file, random):
    for name, (scale, zero_point, low, high) in GRIDS.items():
        x = quantizable(random, scale, zero_point, low, high)
        gradient = quarters(random, x.shape)
        variable = torch.tensor(x, requires_grad=True)
        y = torch.fake_quantize_per_tensor_affine(variable, float(numpy.float32(scale)), zero_point, low, high)
        y.backward(torch.from_numpy(gradient))
        options = {"operation": "fake_quantize_per_tensor", "quant_min": low, "quant_max": high}
        arrays = {
            "x": x, "gradient": gradient, "scale": numpy.float32(scale), "zero_point": numpy.int32(zero_point),
            "y": y.detach().numpy(), "dx": variable.grad.numpy(),
        }
        file.case(f"fake_tensor_{name}", options, arrays)

    for axis, (low, high), dtype in ((0, (-128, 127), "i8"), (1, (-127, 127), "i8"), (2, (0, 255), "u8")):
        shape = (3, 5, 8)
        channels = shape[axis]
        scale = numpy.float32(10.0 ** random.uniform(-3, 1, channels))
        zero_point = random.integers(low // 2, high // 2, channels).astype(numpy.int32)
        if low == -127:
            zero_point[:] = 0
        along = [1, 1, 1]
        along[axis] = channels
        # Steps of a quarter of a code, to both sides of the range: one in four is a tie.
        steps = random.integers(4 * (low - 20), 4 * (high + 20), shape).astype(numpy.float32) / numpy.float32(4)
        x = (steps - zero_point.reshape(along).astype(numpy.float32)) * scale.reshape(along)
        gradient = quarters(random, shape)
        variable = torch.tensor(x, requires_grad=True)
        y = torch.fake_quantize_per_channel_affine(
            variable, torch.from_numpy(scale), torch.from_numpy(zero_point), axis, low, high
        )
        y.backward(torch.from_numpy(gradient))
        options = {"operation": "fake_quantize_per_channel", "axis": axis, "quant_min": low, "quant_max": high}
        arrays = {
            "x": x, "gradient": gradient, "scale": scale, "zero_point": zero_point,
            "y": y.detach().numpy(), "dx": variable.grad.numpy(),
        }
        file.case(f"fake_channel_axis{axis}_{dtype}", options, arrays)

    x = numpy.array([numpy.inf, -numpy.inf, 3e38, -3e38, 1.0, -1.0], dtype=numpy.float32)
    per_tensor = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), 0.5, 3, -128, 127).numpy()
    per_channel = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(x[:, None]), torch.tensor([0.5]), torch.tensor([3], dtype=torch.int32), 1, -128, 127
    ).numpy()[:, 0]
    options = {"operation": "fake_quantize_infinities", "scale": 0.5, "zero_point": 3, "quant_min": -128,
               "quant_max": 127}
    file.case("fake_infinities", options, {"x": x, "per_tensor": per_tensor, "per_channel": per_channel})


def add_learnable(file, random):
    """LSQ: gradients to the scale and to the zero point too. They are f32 sums, in an order of torch's choosing."""
    for name in ("u8", "i8", "i8_symmetric", "four_bits"):
        scale, zero_point, low, high = GRIDS[name]
        x = quantizable(random, scale, zero_point, low, high)
        gradient = quarters(random, x.shape)
        for grad_factor in (1.0, 1.0 / float(numpy.sqrt(x.size * high))):
            inputs = torch.tensor(x, requires_grad=True)
            scales = torch.tensor([scale], dtype=torch.float32, requires_grad=True)
            zeros = torch.tensor([float(zero_point)], requires_grad=True)
            y = torch._fake_quantize_learnable_per_tensor_affine(inputs, scales, zeros, low, high, grad_factor)
            y.backward(torch.from_numpy(gradient))
            options = {"operation": "learnable", "quant_min": low, "quant_max": high, "grad_factor": grad_factor}
            arrays = {
                "x": x, "gradient": gradient, "scale": scales.detach().numpy(),
                "zero_point": zeros.detach().numpy(), "y": y.detach().numpy(), "dx": inputs.grad.numpy(),
                "dscale": scales.grad.numpy(), "dzero_point": zeros.grad.numpy(),
            }
            file.case(f"learnable_{name}_{'plain' if grad_factor == 1.0 else 'scaled'}", options, arrays)


def add_codes(file, random):
    """`quantize_per_tensor`, `quantize_per_channel`: the codes themselves, and their dequantized values."""
    for name, dtype in (("u8", torch.quint8), ("u8_quarter", torch.quint8), ("i8", torch.qint8),
                        ("i8_shifted", torch.qint8), ("tiny_scale", torch.qint8), ("huge_scale", torch.qint8)):
        scale, zero_point, low, high = GRIDS[name]
        x = quantizable(random, scale, zero_point, low, high)
        codes = torch.quantize_per_tensor(torch.from_numpy(x), float(numpy.float32(scale)), zero_point, dtype)
        arrays = {
            "x": x, "scale": numpy.float32(scale), "zero_point": numpy.int32(zero_point),
            "codes": codes.int_repr().numpy(), "dequantized": codes.dequantize().numpy(),
        }
        file.case(f"codes_{name}", {"operation": "quantize_per_tensor", "dtype": str(dtype)}, arrays)
    for axis in (0, 1):
        shape = (6, 10)
        scale = 2.0 ** random.integers(-6, 3, shape[axis])
        zero_point = random.integers(-20, 20, shape[axis])
        along = (-1, 1) if axis == 0 else (1, -1)
        steps = random.integers(-600, 600, shape) / 4.0
        x = ((steps - zero_point.reshape(along)) * scale.reshape(along)).astype(numpy.float32)
        codes = torch.quantize_per_channel(
            torch.from_numpy(x), torch.from_numpy(scale), torch.from_numpy(zero_point), axis, torch.qint8
        )
        arrays = {
            "x": x, "scale": scale.astype(numpy.float32), "zero_point": zero_point.astype(numpy.int32),
            "codes": codes.int_repr().numpy(), "dequantized": codes.dequantize().numpy(),
        }
        options = {"operation": "quantize_per_channel", "axis": axis, "dtype": "torch.qint8"}
        file.case(f"codes_axis{axis}", options, arrays)


# Observers ---------------------------------------------------------------------------------------------------------

SCHEMES = {
    "i8_symmetric": (torch.qint8, "symmetric", False),
    "i8_affine": (torch.qint8, "affine", False),
    "u8_affine": (torch.quint8, "affine", False),
    "u8_symmetric": (torch.quint8, "symmetric", False),
    "u8_affine_reduced": (torch.quint8, "affine", True),
    "i8_symmetric_reduced": (torch.qint8, "symmetric", True),
}


def small_batches(random):
    """Batches `[batch, 4, 6]` for the observers that see extremes only."""
    normal = random.standard_normal((6, 4, 6)) * numpy.array([1.0, 3.0, 0.5, 2.0, 10.0, 0.1])[:, None, None]
    batches = {
        "normal": normal,
        "positive": numpy.abs(normal) + 0.25,
        "negative": -numpy.abs(normal) - 0.25,
        "skewed": normal * 0.1 + 1.0,
        "zero": normal * 0.0,
        "tiny": normal * 1e-7,
    }
    return {name: value.astype(numpy.float32) for name, value in batches.items()}


def large_batches(random):
    """Batches `[4, 500]` for the histogram observer; later ones reach further."""
    reach = numpy.array([1.0, 1.5, 1.0, 2.5])[:, None]
    batches = {
        "normal": random.standard_normal((4, 500)) * reach,
        "half_normal": numpy.maximum(random.standard_normal((4, 500)), 0.0) * reach,
        "heavy_tailed": random.standard_t(3, (4, 500)),
        "shifted": random.standard_normal((4, 500)) * 0.3 + 2.0,
    }
    return {name: value.astype(numpy.float32) for name, value in batches.items()}


def observe(instance, batches):
    """The running minimum and maximum after every batch, and the final scale and zero point."""
    lows, highs = [], []
    for batch in batches:
        instance(torch.from_numpy(batch))
        lows.append(instance.min_val.numpy().copy())
        highs.append(instance.max_val.numpy().copy())
    scale, zero_point = instance.calculate_qparams()
    return {
        "min": numpy.stack(lows), "max": numpy.stack(highs),
        "scale": scale.numpy(), "zero_point": zero_point.numpy().astype(numpy.int32),
    }


def observer_options(kind, scheme):
    dtype, symmetry, reduce_range = SCHEMES[scheme]
    options = {"operation": "observer", "observer": kind, "dtype": str(dtype), "scheme": symmetry,
               "reduce_range": reduce_range}
    return dtype, symmetry, reduce_range, options


def add_observers(file, random):
    batches = small_batches(random)
    shared = {name: {"batches": file.share(f"batches.{name}", value)} for name, value in batches.items()}
    for scheme in SCHEMES:
        for data, values in batches.items():
            dtype, symmetry, reduce_range, options = observer_options("MinMaxObserver", scheme)
            tensor_scheme = getattr(torch, f"per_tensor_{symmetry}")
            instance = observer.MinMaxObserver(dtype, tensor_scheme, reduce_range=reduce_range)
            file.case(f"min_max_{scheme}_{data}", options, observe(instance, values), shared[data])
        for constant in (0.01, 0.3):
            dtype, symmetry, reduce_range, options = observer_options("MovingAverageMinMaxObserver", scheme)
            instance = observer.MovingAverageMinMaxObserver(
                constant, dtype, getattr(torch, f"per_tensor_{symmetry}"), reduce_range=reduce_range
            )
            options["averaging_constant"] = constant
            file.case(f"moving_average_{scheme}_{constant}", options, observe(instance, batches["normal"]),
                      shared["normal"])
        for axis in (0, 1):
            for data in ("normal", "positive"):
                dtype, symmetry, reduce_range, options = observer_options("PerChannelMinMaxObserver", scheme)
                instance = observer.PerChannelMinMaxObserver(
                    axis, dtype, getattr(torch, f"per_channel_{symmetry}"), reduce_range=reduce_range
                )
                options["axis"] = axis
                file.case(f"channel_axis{axis}_{scheme}_{data}", options, observe(instance, batches[data]),
                          shared[data])


def add_histogram_observers(file, random):
    batches = large_batches(random)
    shared = {name: {"batches": file.share(f"large_batches.{name}", value)} for name, value in batches.items()}
    for scheme in ("i8_symmetric", "u8_affine"):
        for data, values in batches.items():
            dtype, symmetry, reduce_range, options = observer_options("HistogramObserver", scheme)
            instance = observer.HistogramObserver(2048, dtype, getattr(torch, f"per_tensor_{symmetry}"))
            result = observe(instance, values)
            low, high = instance._non_linear_param_search()
            codes = torch.quantize_per_tensor(
                torch.from_numpy(values), float(result["scale"][0]), int(result["zero_point"][0]), dtype
            )
            difference = codes.dequantize().numpy().astype(numpy.float64) - values.astype(numpy.float64)
            options["bins"] = 2048
            options["mean_squared_error"] = float((difference**2).mean())
            result["searched_min"] = low.numpy()
            result["searched_max"] = high.numpy()
            file.case(f"histogram_{scheme}_{data}", options, result, shared[data])


def generate_quant(folder):
    file = GoldenFile("torch_quant", TORCH)
    random = numpy.random.default_rng(30)
    add_fake_quantize(file, random)
    add_learnable(file, random)
    add_codes(file, random)
    add_observers(file, random)
    add_histogram_observers(file, random)
    file.save(folder)


# Casts -------------------------------------------------------------------------------------------------------------


def boundary_patterns(random):
    """f32 bit patterns, NaN excluded, that stand where a rounding to f16 or bf16 decides."""
    patterns = []
    half_codes = numpy.concatenate([
        numpy.arange(0, 6), numpy.arange(0x3FC, 0x406), numpy.arange(0x7BF8, 0x7C00),
        numpy.arange(0x3BFC, 0x3C04), random.integers(0, 0x7C00, 60),
    ]).astype(numpy.uint16)
    for code in half_codes:
        # The value, the middle to the next one, and their neighbours. f64 holds every middle.
        value = float(code.view(numpy.float16))
        following = 65536.0 if code == 0x7BFF else float(numpy.uint16(code + 1).view(numpy.float16))
        for number in (value, (value + following) / 2.0):
            bits = int(numpy.float32(number).view(numpy.uint32))
            patterns += [max(bits - 1, 0), bits, bits + 1]
    brain_codes = numpy.concatenate([
        numpy.arange(0, 6), numpy.arange(0x7E, 0x84), numpy.arange(0x7F7A, 0x7F80), random.integers(0, 0x7F80, 60),
    ])
    for code in brain_codes:
        for low in (0x0000, 0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
            patterns.append((int(code) << 16) | low)
    for number in (65504.0, 65519.0, 65519.996, 65520.0, 65535.0, 65536.0, 2.0**-24, 2.0**-25, 2.0**-26, 2.0**-14):
        patterns.append(int(numpy.float32(number).view(numpy.uint32)))
    patterns += [0x00000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000]
    patterns = numpy.array([p for p in patterns if p <= 0x7F800000], dtype=numpy.uint32)
    patterns = numpy.concatenate([patterns, patterns | numpy.uint32(0x80000000)])
    bits = random.integers(0, 2**32, 1200, dtype=numpy.uint64).astype(numpy.uint32)
    near_half = random.integers(0x33000000, 0x47800000, 800, dtype=numpy.uint64).astype(numpy.uint32)
    patterns = numpy.unique(numpy.concatenate([patterns, bits, near_half]))
    return patterns[~numpy.isnan(patterns.view(numpy.float32))]


NAN_PATTERNS = numpy.array(
    [sign | bits for sign in (0, 0x80000000) for bits in (
        0x7F800001, 0x7F801FFF, 0x7F802000, 0x7F804000, 0x7F80FFFF, 0x7F810000, 0x7FA00000, 0x7FBFFFFF,
        0x7FC00000, 0x7FC00001, 0x7FC02000, 0x7FD55555, 0x7FFFFFFF,
    )],
    dtype=numpy.uint32,
)


def casts(patterns):
    """The 16-bit codes that every toolkit makes of f32 bit patterns, as u16."""
    values = patterns.view(numpy.float32)
    tensor = torch.from_numpy(values.copy())
    return {
        "torch_f16": tensor.half().view(torch.int16).numpy().view(numpy.uint16),
        "torch_bf16": tensor.bfloat16().view(torch.int16).numpy().view(numpy.uint16),
        "numpy_f16": values.astype(numpy.float16).view(numpy.uint16),
        "ml_dtypes_bf16": values.astype(ml_dtypes.bfloat16).view(numpy.uint16),
    }


def fnv1a(array):
    """64-bit FNV-1a over the little-endian bytes of an array, as 16 hexadecimal digits."""
    value = 0xCBF29CE484222325
    for byte in array.astype(array.dtype.newbyteorder("<")).tobytes():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def generate_cast(folder):
    file = GoldenFile("torch_cast", CASTS)
    patterns = boundary_patterns(numpy.random.default_rng(31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of overflow to infinity, which is asked for here.
        codes = casts(patterns)
        nan_codes = casts(NAN_PATTERNS)
    if not (codes["torch_f16"] == codes["numpy_f16"]).all():
        raise RuntimeError("torch and numpy round to f16 differently")
    if not (codes["torch_bf16"] == codes["ml_dtypes_bf16"]).all():
        raise RuntimeError("torch and ml_dtypes round to bf16 differently")
    file.case("f32_to_16_bits", {"operation": "narrow"},
              {"f32": patterns, "f16": codes["torch_f16"], "bf16": codes["torch_bf16"]})
    file.case("nan_to_16_bits", {"operation": "narrow_nan"}, {"f32": NAN_PATTERNS, **nan_codes})

    every = numpy.arange(65536, dtype=numpy.uint32).astype(numpy.uint16)
    for name, dtype, reference in (
        ("f16", torch.float16, every.view(numpy.float16).astype(numpy.float32)),
        ("bf16", torch.bfloat16, every.view(ml_dtypes.bfloat16).astype(numpy.float32)),
    ):
        wide = torch.from_numpy(every.view(numpy.int16)).view(dtype).float().numpy().view(numpy.uint32)
        number = ~numpy.isnan(wide.view(numpy.float32))
        if not (wide[number] == reference.view(numpy.uint32)[number]).all():
            raise RuntimeError(f"torch and the other toolkit widen {name} differently")
        options = {
            "operation": "widen", "from": name, "numbers": int(number.sum()),
            "fnv1a_of_all_numbers": fnv1a(wide[number]),
        }
        chosen = numpy.flatnonzero(number & ((every % 61 == 0) | (every % 0x0400 < 2) | (every % 0x0400 == 0x03FF)))
        nans = numpy.flatnonzero(~number)
        nans = nans[:: max(len(nans) // 16, 1)]
        arrays = {
            "codes": every[chosen], "f32": wide[chosen],
            "nan_codes": every[nans], "nan_torch": wide[nans], "nan_other": reference.view(numpy.uint32)[nans],
        }
        file.case(f"{name}_to_f32", options, arrays)
    file.save(folder)


def main():
    folder = sys.argv[1]
    torch.set_num_threads(1)
    versions = (torch.__version__.split("+")[0], numpy.__version__, ml_dtypes.__version__)
    if versions != ("2.15.0", "2.4.6", "0.6.0") or torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        raise RuntimeError(f"{versions}, {torch.backends.cpu.get_cpu_capability()}")
    generate_quant(folder)
    generate_cast(folder)


if __name__ == "__main__":
    main()
