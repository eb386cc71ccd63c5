"""Golden data of onnxruntime 1.32.0: convolutions of codes, and products with int4 weights in groups.

    pip install -r requirements-onnxruntime.txt
    python generate_onnxruntime_layers.py OUTPUT_FOLDER

writes `onnxruntime_conv.safetensors` and `onnxruntime_int4.safetensors`.
"""

import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

from generate_onnxruntime import TOOLKITS, run_node
from golden_file import GoldenFile

# name, image, output channels (0: depthwise), window, stride, dilation, padding (top, left, bottom, right)
CONVOLUTIONS = [
    ("pixel", (2, 5, 4, 3), 7, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ("plain", (1, 6, 7, 3), 5, (3, 3), (1, 1), (1, 1), (0, 0, 0, 0)),
    ("padded", (2, 5, 6, 4), 33, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ("strided", (1, 9, 8, 8), 6, (3, 3), (2, 2), (1, 1), (0, 1, 1, 0)),
    ("dilated", (1, 9, 9, 5), 4, (3, 2), (1, 2), (2, 3), (2, 3, 1, 4)),
    ("wide", (1, 3, 12, 2), 3, (1, 7), (1, 3), (1, 1), (0, 3, 0, 3)),
    ("tall_padding", (1, 2, 2, 3), 2, (2, 2), (1, 1), (1, 1), (3, 4, 4, 3)),
    ("depthwise", (2, 6, 5, 40), 0, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ("depthwise_strided", (1, 9, 7, 33), 0, (5, 5), (2, 2), (1, 1), (1, 2, 2, 1)),
    ("depthwise_dilated", (1, 8, 8, 3), 0, (3, 2), (1, 3), (2, 2), (2, 2, 2, 2)),
]


def add_convolutions(file, random):
    for name, (batch, height, width, channels), outputs, window, stride, dilation, padding in CONVOLUTIONS:
        for kind in ("uint8", "int8"):
            low, high = numpy.iinfo(kind).min, numpy.iinfo(kind).max
            x = random.integers(low, high + 1, (batch, channels, height, width)).astype(kind)
            per_group = 1 if outputs == 0 else channels
            w = random.integers(-128, 128, (outputs or channels, per_group, *window)).astype(numpy.int8)
            x_zero = random.integers(low, high + 1, ()).astype(kind)
            y = run_node(
                "ConvInteger", {"x": x, "w": w, "x_zero_point": x_zero, "w_zero_point": numpy.zeros((), numpy.int8)},
                {"y": numpy.int32}, kernel_shape=list(window), strides=list(stride), dilations=list(dilation),
                pads=list(padding), group=channels if outputs == 0 else 1)["y"]
            options = {
                "depthwise": outputs == 0, "window": list(window), "stride": list(stride),
                "dilation": list(dilation), "padding": list(padding), "signed": kind == "int8",
            }
            file.case(f"{name}_{kind}", options, {"x": x, "w": w, "x_zero_point": x_zero, "y": y})


def matmul_nbits(x, packed, scales, zero_points, shape, group):
    """onnxruntime's product of f32 activations and int4 weights in groups, computed in f32."""
    outputs, inputs = shape
    names = ["x", "b", "scales"] + (["zero_points"] if zero_points is not None else [])
    node = helper.make_node("MatMulNBits", names, ["y"], domain="com.microsoft", K=inputs, N=outputs, bits=4,
                            block_size=group, accuracy_level=1)
    arrays = {"b": packed, "scales": scales, **({"zero_points": zero_points} if zero_points is not None else {})}
    graph = helper.make_graph(
        [node], "int4", [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def nibbles(codes):
    """Two codes to a byte, the first in the lower half; an odd last one alone."""
    if codes.shape[-1] % 2:
        codes = numpy.concatenate([codes, numpy.zeros((*codes.shape[:-1], 1), codes.dtype)], axis=-1)
    return (codes[..., 0::2] | codes[..., 1::2] << 4).astype(numpy.uint8)


def add_int4(file, random):
    for outputs, inputs, group, rows in ((5, 64, 16, 3), (33, 96, 32, 1), (40, 160, 32, 4), (3, 256, 128, 2)):
        for affine in (False, True):
            groups = inputs // group
            codes = random.integers(0, 16, (outputs, inputs)).astype(numpy.uint8)
            scales = (random.integers(1, 64, (outputs, groups)) / 256).astype(numpy.float32)
            zero_points = random.integers(0, 16, (outputs, groups)).astype(numpy.uint8)
            # Integers from -128 to 127, both of them in each row: 8 bits hold them without an error.
            x = random.integers(-128, 128, (rows, inputs)).astype(numpy.float32)
            x[:, 0], x[:, 1] = -128, 127
            y = matmul_nbits(x, nibbles(codes.reshape(outputs, groups, group)), scales.ravel(),
                             nibbles(zero_points).ravel() if affine else None, (outputs, inputs), group)
            name = f"{outputs}x{inputs}_{group}_{'affine' if affine else 'symmetric'}"
            arrays = {"x": x, "codes": codes, "scales": scales, "y": y}
            file.case(name, {"group": group}, {**arrays, **({"zero_points": zero_points} if affine else {})})


def main():
    folder = sys.argv[1]
    versions = (onnxruntime.__version__, onnx.__version__, numpy.__version__)
    if versions != ("1.32.0", "1.23.2", "2.4.6"):
        raise RuntimeError(f"onnxruntime, onnx, numpy are {versions}")
    for topic, add, seed in (("onnxruntime_conv", add_convolutions, 43), ("onnxruntime_int4", add_int4, 44)):
        file = GoldenFile(topic, TOOLKITS)
        add(file, numpy.random.default_rng(seed))
        file.save(folder)


if __name__ == "__main__":
    main()
