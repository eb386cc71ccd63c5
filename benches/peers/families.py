"""What is compared: families of layers, the shapes, and the peers of each family. To add one, add an entry here."""
from dataclasses import dataclass

# (M, K, N): x is [M, K], the weights are [N, K], y = x w^T is [M, N].
SHAPES = [
    (1, 768, 768), (16, 768, 768), (128, 768, 768), (1, 768, 3072), (128, 768, 3072), (1, 3072, 768), (128, 3072, 768),
    (1, 4096, 4096), (128, 4096, 4096), (1, 4096, 11008), (512, 1024, 1024), (2048, 2048, 2048), (37, 1021, 509),
]
QUICK_SHAPES = [(1, 768, 768), (128, 768, 768), (37, 1021, 509)]


@dataclass(frozen=True)
class Family:
    name: str
    title: str
    # What workers are asked to prepare, with the parameters below.
    kind: str
    # Root mean squared error against that of the exact product (python/reference.py); 0: equal to the bit.
    tolerance: float
    # Bytes of a weight that is stored, with its share of scales and places: for the memory limit.
    weight_bytes: float
    # Which of the measured peaks multiplies: "fma" or "int8".
    peak: str
    # (worker, way): who is compared, by which of its ways.
    peers: tuple
    group: int = 0
    sparsity: float = 0.0
    pattern: str = "1x1"
    quick: bool = True


# Ours on one thread, a peer of ours on more: what the other threads are worth.
ONE_THREAD = ("tersor", "1 thread")

FLOAT = 1e-5  # f32 sums of up to 4096 products
FLOAT16 = 1e-3  # y rounded to f16
INT8 = 3e-2  # activations quantized to 8 bits: 0.01 from rounding alone


def sparse_int8(pattern, place_bytes, sparsity):
    return Family(
        f"sparse-int8-{pattern}-{round(100 * sparsity)}", f"int8, {round(100 * sparsity)}% of the {pattern} blocks (outputs x inputs) are zero",
        "sparse-int8", INT8, 1 + place_bytes, "int8",
        (("tersor", "dense"), ("torch", "fbgemm sparse"), ("torch", "qnnpack sparse")),
        sparsity=sparsity, pattern=pattern, quick=sparsity != 0.75)


def sparse_f32(sparsity):
    return Family(
        f"sparse-f32-{round(100 * sparsity)}", f"f32, {round(100 * sparsity)}% of the weights are zero, anywhere",
        "sparse-f32", FLOAT, 4 + 2, "fma",
        (("tersor", "dense"), ("torch", "oneDNN dense"), ("torch", "CSR"), ("scipy", "CSR")),
        sparsity=sparsity, quick=sparsity in (0.5, 0.75, 0.95))


def int4(group):
    return Family(
        f"int4-{group}", f"int4 weights in groups of {group}, f32 in and out", "int4", INT8, 0.5 + 2 / group, "int8",
        (("tersor", "int8"), ("onnxruntime", "f32"), ("onnxruntime", "int8"), ("openvino", "f32"), ("openvino", "int8"), ("torch", "bf16"),
         ("rten", "f32"), ("rten", "int8"), ("candle", "")),
        group=group, quick=group == 32)


FAMILIES = [
    Family("f32", "f32", "f32", FLOAT, 4, "fma",
           (("onnxruntime", "MatMul"), ("torch", "oneDNN"), ("torch", "MKL"), ("tflite", "XNNPACK"), ("openvino", "f32"),
            ("gemm", ""), ("rten", ""), ("tract", ""), ("candle", ""))),
    Family("f16", "f16 weights", "f16", FLOAT16, 2, "fma",
           (("onnxruntime", "MatMul"), ("torch", "oneDNN"), ("torch", "linear"), ("openvino", "f16"), ("gemm", ""), ("candle", ""))),
    Family("int8-dynamic", "int8, f32 in and out, activations quantized in the call", "int8-dynamic", INT8, 1, "int8",
           (("onnxruntime", "dynamic"), ("torch", "fbgemm"), ("torch", "oneDNN"), ("tflite", "XNNPACK"), ("openvino", "dynamic"),
            ("candle", ""))),
    Family("int8-int32", "int8 in, int32 out", "int8-int32", 0, 1, "int8",
           (("onnxruntime", "MatMulInteger"), ("torch", "_int_mm"), ("rten", ""), ("tract", ""))),
    int4(32),
    int4(128),
    *(sparse_int8("1x4", 2 / 4, sparsity) for sparsity in (0.5, 0.75, 0.9)),
    *(sparse_int8("16x4", 2 / 64, sparsity) for sparsity in (0.5, 0.75, 0.9)),
    *(sparse_int8("16x64", 2 / 64, sparsity) for sparsity in (0.5, 0.75, 0.9)),
    *(sparse_f32(sparsity) for sparsity in (0.5, 0.65, 0.75, 0.9, 0.95)),
]


def request(family, shape, folder):
    """A case as the workers are told it."""
    m, k, n = shape
    return {"kind": family.kind, "m": m, "k": k, "n": n, "group": family.group, "sparsity": family.sparsity,
            "pattern": family.pattern, "folder": folder}


def operations(family, shape):
    """Multiplications and additions of the weights that are not zero."""
    m, k, n = shape
    return 2 * m * k * n * (1 - family.sparsity)


def footprint(family, shape):
    """Bytes that a call must read or write: the stored weights, x and y."""
    m, k, n = shape
    activation = 1 if family.kind == "int8-int32" else 4
    return k * n * (1 - family.sparsity) * family.weight_bytes + activation * m * k + 4 * m * n
