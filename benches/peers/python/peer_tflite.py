"""TFLite's interpreter, whose default delegate is XNNPACK: models of one FULLY_CONNECTED, written here as flatbuffers."""
from importlib.metadata import version

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from serve import serve


def tensor(name, shape, kind, buffer, quantization=None):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer, made.quantization = name, list(shape), kind, buffer, quantization
    return made


def buffer(values=None):
    made = schema.BufferT()
    if values is not None:
        made.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    return made


def invoked(case, kind, stored, quantization):
    """The layer y = x w^T with weights of the type `kind`, in the bytes `stored`."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 9
    layer = schema.OperatorT()
    layer.opcodeIndex, layer.inputs, layer.outputs = 0, [0, 1, -1], [2]
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    layer.builtinOptions.keepNumDims = True
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", (case.m, case.k), schema.TensorType.FLOAT32, 1),
                     tensor("w", (case.n, case.k), kind, 2, quantization),
                     tensor("y", (case.m, case.n), schema.TensorType.FLOAT32, 3)]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [layer]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [buffer(), buffer(), buffer(stored), buffer()]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(model_content=bytes(builder.Output()), num_threads=case.threads)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], case.read("x.f32"))
    output = interpreter.get_output_details()[0]["index"]
    return interpreter.invoke, lambda: interpreter.get_tensor(output)


def per_output(scales):
    made = schema.QuantizationParametersT()
    made.scale, made.zeroPoint = scales, np.zeros(len(scales), np.int64)
    made.quantizedDimension = 0
    return made


def f32(case):
    return invoked(case, schema.TensorType.FLOAT32, case.read("w.f32"), None)


def dynamic(case):
    return invoked(case, schema.TensorType.INT8, case.read("codes.i8"), per_output(case.read("scales.f32")))


serve("ai-edge-litert " + version("ai-edge-litert"), {("f32", "XNNPACK"): f32, ("int8-dynamic", "XNNPACK"): dynamic})
