"""Golden data of onnxruntime 1.32.0: quantization operators, its quantization tool's parameters and calibrators.

    pip install -r requirements-onnxruntime.txt
    python generate_onnxruntime.py OUTPUT_FOLDER

writes `onnxruntime_quant.safetensors` and `onnxruntime_calibrate.safetensors`.

An operator runs as a model of that one node, on the CPU provider with all graph optimizations off.
"""

import contextlib
import io
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.quantization import quant_utils
from onnxruntime.quantization.calibrate import HistogramCollector

from golden_file import GoldenFile

TOOLKITS = "onnxruntime 1.32.0, CPUExecutionProvider; onnx 1.23.2"

OPSET = 21


def run_node(operator, inputs, outputs, **attributes):
    """Runs one operator over named numpy arrays; `outputs` maps names to numpy types. Returns arrays by name."""
    node = helper.make_node(operator, list(inputs), list(outputs), **attributes)
    graph = helper.make_graph(
        [node],
        operator,
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
         for name, value in inputs.items()],
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(numpy.dtype(dtype)), None)
         for name, dtype in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), inputs), strict=True))


# QuantizeLinear, DequantizeLinear ----------------------------------------------------------------------------------

LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}

SCALARS = {
    # scale, zero point of uint8, zero point of int8
    "tenth": (0.1, 128, 0),
    "third": (1.0 / 3.0, 100, -17),
    "quarter": (0.25, 0, -128),
    "half": (0.5, 255, 127),
    "odd_zero_point": (2.0, 7, 3),
    "tiny": (1e-8, 3, -3),
    "huge": (1e30, 200, 5),
}


def quantizable(random, scale, zero_point, low, high):
    """Values inside and outside the grid, on it, half way between its codes, at its ends, zeros, infinities."""
    scale = numpy.float32(scale)
    first, last = (low - zero_point) * scale, (high - zero_point) * scale
    inside = random.uniform(first, last, 40).astype(numpy.float32)
    outside = random.uniform(first - 50 * scale, last + 50 * scale, 24).astype(numpy.float32)
    halves = (numpy.arange(-10, 10) + 0.5).astype(numpy.float32) * scale
    ends = numpy.array([low - 1, low - 0.5, low, high, high + 0.5, high + 1], dtype=numpy.float32)
    ends = (ends - numpy.float32(zero_point)) * scale
    special = numpy.array([0.0, -0.0, numpy.inf, -numpy.inf, 3e38, -3e38, 1e-45], dtype=numpy.float32)
    return numpy.concatenate([inside, outside, halves, ends, special])


def add_linear(file, random):
    for dtype, (low, high) in LIMITS.items():
        for name, (scale, zero_u8, zero_i8) in SCALARS.items():
            zero_point = numpy.array(zero_u8 if dtype == "uint8" else zero_i8, dtype=dtype)
            scale = numpy.array(scale, dtype=numpy.float32)
            x = quantizable(random, scale, int(zero_point), low, high)
            inputs = {"x": x, "scale": scale, "zero_point": zero_point}
            arrays = {**inputs, **run_node("QuantizeLinear", inputs, {"codes": dtype})}
            file.case(f"quantize_{dtype}_{name}", {"operator": "QuantizeLinear", "dtype": dtype, "axis": None}, arrays)

            codes = numpy.arange(256, dtype=numpy.uint8).view(dtype)
            inputs = {"codes": codes, "scale": scale, "zero_point": zero_point}
            arrays = {**inputs, **run_node("DequantizeLinear", inputs, {"y": numpy.float32})}
            options = {"operator": "DequantizeLinear", "dtype": dtype, "axis": None}
            file.case(f"dequantize_{dtype}_{name}", options, arrays)

        for axis in (0, 1, 2):
            shape = (3, 5, 8)
            along = [1, 1, 1]
            along[axis] = shape[axis]
            scale = (10.0 ** random.uniform(-3, 1, shape[axis])).astype(numpy.float32)
            zero_point = random.integers(low, high + 1, shape[axis]).astype(dtype)
            # Steps of a quarter of a code, to both sides of the range: one in four is a tie.
            steps = random.integers(4 * (low - 20), 4 * (high + 20), shape).astype(numpy.float32) / numpy.float32(4)
            x = (steps - zero_point.reshape(along).astype(numpy.float32)) * scale.reshape(along)
            inputs = {"x": x, "scale": scale, "zero_point": zero_point}
            codes = run_node("QuantizeLinear", inputs, {"codes": dtype}, axis=axis)
            options = {"operator": "QuantizeLinear", "dtype": dtype, "axis": axis}
            file.case(f"quantize_{dtype}_axis{axis}", options, {**inputs, **codes})
            inputs = {"codes": codes["codes"], "scale": scale, "zero_point": zero_point}
            y = run_node("DequantizeLinear", inputs, {"y": numpy.float32}, axis=axis)
            options = {"operator": "DequantizeLinear", "dtype": dtype, "axis": axis}
            file.case(f"dequantize_{dtype}_axis{axis}", options, {**inputs, **y})


def add_dynamic(file, random):
    normal = random.standard_normal(50).astype(numpy.float32)
    inputs = {
        "normal": normal,
        "all_zero": numpy.zeros(9, dtype=numpy.float32),
        "all_positive": numpy.abs(normal) + numpy.float32(0.5),
        "all_negative": -numpy.abs(normal) - numpy.float32(0.5),
        "skewed": normal + numpy.float32(1.3),
        "one_value": numpy.array([0.37], dtype=numpy.float32),
        "one_negative": numpy.array([-4.0], dtype=numpy.float32),
        "ties": (numpy.arange(-255, 256) / 2.0).astype(numpy.float32),  # Scale 1, every other value a tie.
        "tiny": normal * numpy.float32(1e-20),
        "huge": normal * numpy.float32(1e37),
        "matrix": random.standard_normal((4, 9)).astype(numpy.float32) * numpy.float32(20),
    }
    outputs = {"codes": numpy.uint8, "scale": numpy.float32, "zero_point": numpy.uint8}
    for name, x in inputs.items():
        arrays = {"x": x, **run_node("DynamicQuantizeLinear", {"x": x}, outputs)}
        file.case(f"dynamic_{name}", {"operator": "DynamicQuantizeLinear"}, arrays)


# MatMulInteger -----------------------------------------------------------------------------------------------------


def add_matmul(file, random):
    def codes(dtype, shape):
        low, high = LIMITS[dtype]
        return random.integers(low, high + 1, shape).astype(dtype)

    def extreme(dtype, highest, shape):
        return numpy.full(shape, LIMITS[dtype][1 if highest else 0], dtype=dtype)

    def add(name, a, b, a_zero, b_zero):
        inputs = {"a": a, "b": b, "a_zero_point": a_zero, "b_zero_point": b_zero}
        y = run_node("MatMulInteger", inputs, {"y": numpy.int32})["y"]
        exact = (a.astype(numpy.int64) - a_zero) @ (b.astype(numpy.int64) - b_zero)
        options = {"operator": "MatMulInteger", "exact": bool((y == exact).all())}
        if not options["exact"]:
            print(f"{name}: onnxruntime is wrong, by up to {numpy.abs(y - exact).max()}")
        file.case(f"matmul_{name}", options, {**inputs, "y": y})

    for a_type in ("uint8", "int8"):
        for b_type in ("uint8", "int8"):
            for rows, inner, columns in ((3, 5, 4), (1, 64, 3), (7, 33, 17)):
                a, b = codes(a_type, (rows, inner)), codes(b_type, (inner, columns))
                shape = f"{rows}x{inner}x{columns}_{a_type}_{b_type}"
                add(shape, a, b, codes(a_type, ()), codes(b_type, ()))
                add(f"{shape}_columns", a, b, codes(a_type, ()), codes(b_type, (columns,)))
    zero = {dtype: numpy.zeros((), dtype=dtype) for dtype in LIMITS}
    for highest in (False, True):
        sign = "highest" if highest else "lowest"
        a, b = extreme("uint8", True, (2, 1000)), extreme("int8", highest, (1000, 3))
        add(f"long_uint8_int8_{sign}", a, b, zero["uint8"], zero["int8"])
        add(f"long_uint8_int8_{sign}_zero_points", a, b, numpy.array(0, dtype=numpy.uint8),
            numpy.array(LIMITS["int8"][0 if highest else 1], dtype=numpy.int8))
    add("long_uint8_uint8", extreme("uint8", True, (2, 1000)), extreme("uint8", True, (1000, 3)),
        zero["uint8"], zero["uint8"])
    add("long_int8_int8", extreme("int8", False, (2, 1000)), extreme("int8", False, (1000, 3)),
        zero["int8"], zero["int8"])


# The tool's scale and zero point -----------------------------------------------------------------------------------


def add_scale_zero_points(file, random):
    pairs = [
        (0.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (-1.0, 1.0), (0.5, 6.0), (-6.0, -0.5), (-1.0, 2.0), (-128.0, 127.0),
        (-127.5, 127.5), (0.0, 255.0), (-0.1, 0.2), (-1e-30, 1e-30), (-1e-38, 1e-38), (-1e-40, 2e-40), (0.0, 1e-45),
        (0.0, 3e-36), (-3e38, 3e38), (0.0, 3.4e38), (-1e-3, 1e5), (-1e5, 1e-3), (-2.5, 252.5), (-0.5, 254.5),
        (-1.5, 253.5), (3.0, 3.0), (-3.0, -3.0),
    ]
    for _ in range(75):
        low, high = sorted(random.standard_normal(2) * 10.0 ** random.uniform(-4, 4))
        pairs.append((low, high))
    minimum = numpy.array([low for low, _ in pairs], dtype=numpy.float32)
    maximum = numpy.array([high for _, high in pairs], dtype=numpy.float32)
    shared = {"min": file.share("ranges.min", minimum), "max": file.share("ranges.max", maximum)}
    for dtype in LIMITS:
        kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.INT8
        for symmetric in (False, True):
            for reduce_range in (False, True):
                low, high = quant_utils.get_qmin_qmax_for_qType(kind, reduce_range, symmetric)
                results = [
                    quant_utils.compute_scale_zp(rmin, rmax, low, high, symmetric)
                    for rmin, rmax in zip(minimum, maximum, strict=True)
                ]
                arrays = {
                    "scale": numpy.array([scale for _, scale in results], dtype=numpy.float32),
                    "zero_point": numpy.array([int(zero_point) for zero_point, _ in results], dtype=numpy.int32),
                }
                options = {
                    "operator": "compute_scale_zp", "dtype": dtype, "symmetric": symmetric,
                    "reduce_range": reduce_range, "quant_min": int(low), "quant_max": int(high),
                }
                name = f"parameters_{dtype}{'_symmetric' if symmetric else ''}{'_reduced' if reduce_range else ''}"
                file.case(name, options, arrays, shared)


def generate_quant(folder):
    file = GoldenFile("onnxruntime_quant", TOOLKITS)
    random = numpy.random.default_rng(40)
    add_linear(file, random)
    add_dynamic(file, random)
    add_matmul(file, random)
    add_scale_zero_points(file, random)
    file.save(folder)


# Calibrators -------------------------------------------------------------------------------------------------------

PERCENTILES = (90.0, 99.0, 99.9, 99.99, 99.999, 100.0)

# histogram bins, quantized bins
ENTROPIES = ((128, 128), (2048, 128))


def data_sets(random):
    """Batches `[3, 700]`; the later ones mostly reach further, so that a histogram must grow."""
    reach = numpy.array([1.0, 1.3, 2.2])[:, None]
    sets = {
        "normal": random.standard_normal((3, 700)) * reach,
        "half_normal": numpy.maximum(random.standard_normal((3, 700)), 0.0) * reach,
        "heavy_tailed": random.standard_t(3, (3, 700)),
        "shifted": random.standard_normal((3, 700)) * 0.5 + 1.5,
    }
    return {name: value.astype(numpy.float32) for name, value in sets.items()}


def collect(batches, method, symmetric, bins, quantized_bins, percentile):
    """One HistogramCollector over batches: the range it chooses and its histogram and edges."""
    collector = HistogramCollector(method, symmetric, bins, quantized_bins, percentile, "same")
    with contextlib.redirect_stdout(io.StringIO()):
        for batch in batches:
            collector.collect({"data": batch})
        result = collector.compute_collection_result()["data"]
    histogram, edges = collector.get_histogram_dict()["data"][:2]
    return numpy.array(result[:2], dtype=numpy.float32), histogram, edges


def generate_calibrate(folder):
    file = GoldenFile("onnxruntime_calibrate", TOOLKITS)
    for data, batches in data_sets(numpy.random.default_rng(41)).items():
        shared = {"batches": file.share(f"batches.{data}", batches)}
        magnitudes = numpy.abs(batches.ravel()).astype(numpy.float64)
        for feeding, fed in (("at_once", [batches]), ("in_batches", list(batches))):
            for symmetric in (False, True):
                for percentile in PERCENTILES:
                    chosen, histogram, _ = collect(fed, "percentile", symmetric, 2048, None, percentile)
                    options = {
                        "method": "percentile", "feeding": feeding, "symmetric": symmetric, "bins": 2048,
                        "percentile": percentile, "final_bins": len(histogram),
                        "numpy_percentile_of_magnitudes": float(numpy.percentile(magnitudes, percentile)),
                    }
                    arrays = {"range": chosen}
                    if data == "normal" and symmetric and percentile == PERCENTILES[0]:
                        arrays["histogram"] = histogram.astype(numpy.int32)
                    kind = "symmetric" if symmetric else "two_sided"
                    file.case(f"percentile_{data}_{feeding}_{kind}_{percentile}", options, arrays, shared)
            for bins, quantized_bins in ENTROPIES:
                chosen, histogram, edges = collect(fed, "entropy", False, bins, quantized_bins, None)
                options = {
                    "method": "entropy", "feeding": feeding, "bins": bins, "quantized_bins": quantized_bins,
                    "final_bins": len(histogram),
                }
                arrays = {"range": chosen}
                if bins == 128 or data == "normal":
                    arrays["histogram"] = histogram.astype(numpy.int32)
                    arrays["edges"] = edges[[0, 1, -2, -1]]
                file.case(f"entropy_{data}_{feeding}_{bins}_{quantized_bins}", options, arrays, shared)
    file.save(folder)


def main():
    folder = sys.argv[1]
    versions = (onnxruntime.__version__, onnx.__version__, numpy.__version__)
    if versions != ("1.32.0", "1.23.2", "2.4.6"):
        raise RuntimeError(f"onnxruntime, onnx, numpy are {versions}")
    generate_quant(folder)
    generate_calibrate(folder)


if __name__ == "__main__":
    main()
