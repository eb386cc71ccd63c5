"""onnxruntime: graphs of one operator, inputs and outputs bound beforehand, so that nothing is copied."""
import numpy as np
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from serve import serve

ort.set_default_logger_severity(4)


def bound(case, nodes, x, y_type, weights, opset=21):
    x_type = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        nodes, "layer",
        [helper.make_tensor_value_info("x", x_type, x.shape)],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(np.dtype(y_type)), (case.m, case.n))],
        [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in weights.items()])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)])
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = case.threads, 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    x = ort.OrtValue.ortvalue_from_numpy(x)
    y = ort.OrtValue.ortvalue_from_shape_and_type([case.m, case.n], np.dtype(y_type))
    binding.bind_ortvalue_input("x", x)
    binding.bind_ortvalue_output("y", y)
    held = (x, binding)  # as long as the layer lives
    return lambda: session.run_with_iobinding(binding), lambda: (held, y.numpy())[1]


def f32(case):
    return bound(case, [helper.make_node("MatMul", ["x", "w"], ["y"])], case.read("x.f32"), np.float32, {"w": case.read("w.f32").T})


def f16(case):
    # On a CPU the constant becomes f32 when the graph is loaded: an f32 product with casts of x and y.
    return bound(case, [helper.make_node("MatMul", ["x", "w"], ["y"])], case.read("x.f16"), np.float16, {"w": case.read("w.f16").T})


def dynamic(case):
    """What its quantize_dynamic emits per channel; the session fuses it into one operator."""
    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "x_scale", "x_zero"]),
             helper.make_node("MatMulInteger", ["q", "w", "x_zero", "w_zero"], ["sums"]),
             helper.make_node("Cast", ["sums"], ["floats"], to=T.FLOAT),
             helper.make_node("Mul", ["x_scale", "w_scale"], ["scale"]),
             helper.make_node("Mul", ["floats", "scale"], ["y"])]
    weights = {"w": case.read("codes.i8").T, "w_zero": np.zeros(case.n, np.int8), "w_scale": case.read("scales.f32")}
    return bound(case, nodes, case.read("x.f32"), np.float32, weights, opset=17)


def integer(case):
    nodes = [helper.make_node("MatMulInteger", ["x", "w"], ["y"])]
    return bound(case, nodes, case.read("x.u8"), np.int32, {"w": case.read("codes.i8").T})


def int4(accuracy):
    def make(case):
        groups = -(-case.k // case.group)
        codes = np.full((case.n, groups * case.group), 8, np.uint8)
        codes[:, : case.k] = case.read("codes.u4")
        pairs = (codes[:, 0::2] | (codes[:, 1::2] << 4)).reshape(case.n, groups, case.group // 2)
        node = helper.make_node("MatMulNBits", ["x", "w", "scales"], ["y"], domain="com.microsoft", K=case.k, N=case.n,
                                bits=4, block_size=case.group, accuracy_level=accuracy)
        return bound(case, [node], case.read("x.f32"), np.float32, {"w": pairs, "scales": case.read("group_scales.f32").reshape(-1)})
    return make


serve("onnxruntime " + ort.__version__, {
    ("f32", "MatMul"): f32,
    ("f16", "MatMul"): f16,
    ("int8-dynamic", "dynamic"): dynamic,
    ("int8-int32", "MatMulInteger"): integer,
    ("int4", "f32"): int4(0),
    ("int4", "int8"): int4(4),
})
