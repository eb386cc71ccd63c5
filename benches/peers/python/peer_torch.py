"""torch: MKL and oneDNN for dense f32 and f16, fbgemm and oneDNN for int8, its own int4, CSR, and fbgemm's sparse operator."""
import os
import warnings

warnings.filterwarnings("ignore")

import numpy as np
import torch
import torch.nn.functional as F
from serve import serve

torch.set_num_threads(int(os.environ.get("PEERS_THREADS", "1")))
torch.set_grad_enabled(False)


def tensors(case, *names):
    return [torch.from_numpy(case.read(name)) for name in names]


def kept(run, finish=lambda y: y):
    """A call that keeps its result for the check."""
    y = [None]

    def call():
        y[0] = run()
    return call, lambda: finish(y[0]).contiguous().numpy()


def linear(suffix):
    def make(case):
        x, w = tensors(case, "x." + suffix, "w." + suffix)
        return kept(lambda: F.linear(x, w))
    return make


def onednn(suffix):
    def make(case):
        x, w = tensors(case, "x." + suffix, "w." + suffix)
        packed = torch.ops.mkldnn._reorder_linear_weight(w, case.m)
        return kept(lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], ""))
    return make


def codes_per_channel(case):
    codes, scales = tensors(case, "codes.i8", "scales.f32")
    return torch._make_per_channel_quantized_tensor(codes, scales.double(), torch.zeros(case.n, dtype=torch.long), 0)


def dynamic(engine):
    def make(case):
        torch.backends.quantized.engine = engine
        x, = tensors(case, "x.f32")
        packed = torch.ops.quantized.linear_prepack(codes_per_channel(case), None)
        return kept(lambda: torch.ops.quantized.linear_dynamic(x, packed, False))
    return make


def int_mm(case):
    # x holds codes of 0 to 127: the same numbers as int8.
    x, w = torch.from_numpy(case.read("x.u8").view(np.int8)), tensors(case, "codes.i8")[0].t()
    return kept(lambda: torch._int_mm(x, w))


def int4(case):
    case.whole_groups()
    x, codes, scales = tensors(case, "x.f32", "codes.u4", "group_scales.f32")
    x = x.bfloat16()
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
    # Its zeros are weights: 0 where the code is 8.
    scales_and_zeros = torch.stack([scales.t(), torch.zeros_like(scales.t())], 2).bfloat16().contiguous()
    return kept(lambda: torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, case.group, scales_and_zeros), lambda y: y.float())


def csr(case):
    x, w = tensors(case, "x.f32", "w.f32")
    w = w.to_sparse_csr()
    w = torch.sparse_csr_tensor(w.crow_indices().int(), w.col_indices().int(), w.values(), (case.n, case.k))
    if case.m == 1:
        x = x.view(-1).contiguous()
        return kept(lambda: torch.mv(w, x))
    # x as the operator wants it, turned outside the measurement.
    x = x.t().contiguous()
    return kept(lambda: torch.mm(w, x), lambda y: y.t())


def sparse_fbgemm(case):
    """It has no dynamic form: quantized in, quantized out, so it does less than the others here."""
    torch.backends.quantized.engine = "fbgemm"
    x, w = tensors(case, "x.f32", "w.f32")
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    # 7 bits, as torch's own configuration for this engine has it: its 16-bit sums saturate with 8.
    x_scale = (high - low) / 127
    x_codes = torch.quantize_per_tensor(x, x_scale, round(-low / x_scale), torch.quint8)
    # The result's range, which calibration would have found.
    exact = x @ w.t()
    low, high = float(exact.min()), float(exact.max())
    y_scale = (high - low) / 255
    y_zero = min(max(round(-low / y_scale), 0), 255)
    packed = torch.ops.sparse.qlinear_prepack(codes_per_channel(case), torch.zeros(case.n), 1, 4)
    return kept(lambda: torch.ops.sparse.qlinear(x_codes, packed, y_scale, y_zero), lambda y: y.dequantize())


def sparse_qnnpack(case):
    torch.backends.quantized.engine = "qnnpack"
    x, = tensors(case, "x.f32")
    packed = torch.ops.sparse.qlinear_prepack(codes_per_channel(case), torch.zeros(case.n), 1, 4)
    return kept(lambda: torch.ops.sparse.qlinear_dynamic(x, packed))


serve("torch " + torch.__version__.split("+")[0], {
    ("f32", "MKL"): linear("f32"),
    ("f32", "oneDNN"): onednn("f32"),
    ("f16", "linear"): linear("f16"),
    ("f16", "oneDNN"): onednn("f16"),
    ("int8-dynamic", "fbgemm"): dynamic("fbgemm"),
    ("int8-dynamic", "oneDNN"): dynamic("onednn"),
    ("int8-int32", "_int_mm"): int_mm,
    ("int4", "bf16"): int4,
    ("sparse-f32", "CSR"): csr,
    ("sparse-f32", "oneDNN dense"): onednn("f32"),
    ("sparse-int8", "fbgemm sparse"): sparse_fbgemm,
    ("sparse-int8", "qnnpack sparse"): sparse_qnnpack,
})
