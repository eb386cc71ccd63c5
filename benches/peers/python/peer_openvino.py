"""OpenVINO: a MatMul whose weights are stored the way NNCF stores them: codes, their scales, and a reshape of groups."""
import numpy as np
import openvino as ov
from openvino import opset13 as op
from serve import serve

CORE = ov.Core()


def compiled(case, weights, x, hints):
    parameter = op.parameter([case.m, case.k], np.float32, name="x")
    model = ov.Model([op.matmul(parameter, weights, False, True)], [parameter])
    settings = {"INFERENCE_NUM_THREADS": case.threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32", **hints}
    request = CORE.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))
    return request.infer, lambda: (x, request.get_output_tensor().data)[1]


def f32(case):
    return compiled(case, op.constant(case.read("w.f32")), case.read("x.f32"), {})


def f16(case):
    weights = op.convert(op.constant(case.read("w.f16")), np.float32)
    return compiled(case, weights, case.read("x.f32"), {})


def dynamic(case):
    codes = op.convert(op.constant(case.read("codes.i8")), np.float32)
    weights = op.multiply(codes, op.constant(case.read("scales.f32")[:, None]))
    return compiled(case, weights, case.read("x.f32"), {"DYNAMIC_QUANTIZATION_GROUP_SIZE": case.k})


def int4(int8_activations):
    def make(case):
        case.whole_groups()
        groups = case.k // case.group
        shape = ov.Shape([case.n, groups, case.group])
        packed = ov.Tensor(np.ascontiguousarray(case.pairs_of_codes()).reshape(-1), shape, ov.Type.u4)
        centred = op.subtract(op.convert(op.constant(packed), np.float32), op.convert(op.constant(np.array(8, np.uint8)), np.float32))
        scaled = op.multiply(centred, op.constant(case.read("group_scales.f32").reshape(case.n, groups, 1)))
        weights = op.reshape(scaled, op.constant(np.array([case.n, case.k], np.int64)), False)
        hints = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": case.group if int8_activations else 0}
        return compiled(case, weights, case.read("x.f32"), hints)
    return make


serve("openvino " + ov.__version__.split("-")[0], {
    ("f32", "f32"): f32,
    ("f16", "f16"): f16,
    ("int8-dynamic", "dynamic"): dynamic,
    ("int4", "f32"): int4(False),
    ("int4", "int8"): int4(True),
})
