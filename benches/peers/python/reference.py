"""Makes the numbers of each case and checks what workers computed from them, in numpy's float64."""
import os
import sys
import zlib

import numpy as np
from case import Case


def blocks_of(pattern):
    outputs, inputs = pattern.split("x")
    return int(outputs), int(inputs)


def keep(rng, case):
    """Which weights survive: exactly the stated part of the blocks, anywhere, goes. [N, K] of bool."""
    rows, columns = blocks_of(case.pattern)
    shape = (-(-case.n // rows), -(-case.k // columns))
    kept = np.ones(shape[0] * shape[1], bool)
    kept[: round(case.sparsity * kept.size)] = False
    rng.shuffle(kept)
    return kept.reshape(shape).repeat(rows, 0).repeat(columns, 1)[: case.n, : case.k]


def int8_weights(rng, case):
    """Codes of -127 to 127 with a 127 in each row, so that a peer that quantizes the f32 weights itself finds the same."""
    codes = np.clip(np.rint(rng.standard_normal((case.n, case.k), np.float32) * 32), -127, 127).astype(np.int8)
    codes[np.arange(case.n), rng.integers(0, case.k, case.n)] = 127
    scales = ((0.5 + rng.random(case.n)) * 0.02 / 32).astype(np.float32)
    if case.kind == "sparse-int8":
        codes *= keep(rng, case)
    case.write("codes.i8", codes)
    case.write("scales.f32", scales)
    return codes, codes.astype(np.float32) * scales[:, None]


def int4_weights(rng, case):
    """Codes of 0 to 15 around 8, with a 0 in each 32, so that a peer that quantizes the f32 weights itself finds the same."""
    groups = -(-case.k // case.group)
    codes = np.clip(np.rint(rng.standard_normal((case.n, case.k), np.float32) * 2.5 + 8), 1, 15).astype(np.uint8)
    for start in range(0, case.k, 32):
        width = min(32, case.k - start)
        codes[np.arange(case.n), start + rng.integers(0, width, case.n)] = 0
    # Of float16: every peer stores them without rounding.
    scales = ((0.5 + rng.random((case.n, groups))) * 0.008).astype(np.float16).astype(np.float32)
    case.write("codes.u4", codes)
    case.write("group_scales.f32", scales)
    w = (codes.astype(np.float32) - 8) * scales.repeat(case.group, 1)[:, : case.k]
    # The same weights as int8, a scale for each output: what our own int8 layer makes of them.
    int8_scales = np.abs(w).max(1) / 127
    case.write("codes.i8", np.rint(w / int8_scales[:, None]))
    case.write("scales.f32", int8_scales)
    return w


def make(case):
    """Writes the files of a case; returns the exact product [M, N]."""
    rng = np.random.default_rng(zlib.crc32(f"{case.kind} {case.group} {case.sparsity} {case.pattern} {case.m} {case.k} {case.n}".encode()))
    os.makedirs(case.folder, exist_ok=True)
    x = rng.standard_normal((case.m, case.k), np.float32)
    if case.kind == "int8-int32":
        # 0 to 127 with a zero point of 0: the same job and the same sums for int8 and uint8 activations.
        codes, _ = int8_weights(rng, case)
        x = np.clip(np.rint(np.abs(x) * 40), 0, 127).astype(np.uint8)
        case.write("x.u8", x)
        return x.astype(np.float64) @ codes.astype(np.float64).T
    if case.kind in ("int8-dynamic", "sparse-int8"):
        _, w = int8_weights(rng, case)
    elif case.kind == "int4":
        w = int4_weights(rng, case)
    else:
        w = rng.standard_normal((case.n, case.k), np.float32) * np.float32(0.02)
        if case.kind == "f16":
            x, w = x.astype(np.float16), w.astype(np.float16)
            case.write("x.f16", x)
            case.write("w.f16", w)
        elif case.kind == "sparse-f32":
            w *= keep(rng, case)
    case.write("x.f32", x)
    case.write("w.f32", w)
    return x.astype(np.float64) @ w.astype(np.float64).T


def compare(path, dtype, exact, tolerance):
    """The root of the mean squared error, and the largest error, both against the root mean square of the exact product.

    Passes when the first is at most `tolerance` and the second at most 8 times that; a tolerance of 0 wants equality.
    """
    values = np.fromfile(path, dtype=dtype)
    if values.size != exact.size:
        raise ValueError(f"{values.size} numbers instead of {exact.size}")
    error = values.astype(np.float64).reshape(exact.shape) - exact
    size = np.sqrt(np.mean(exact**2))
    mean, largest = np.sqrt(np.mean(error**2)) / size, np.abs(error).max() / size
    # `not <=`: NaN fails.
    return mean, largest, not (not mean <= tolerance or not largest <= 8 * tolerance)


def main():
    exact = None
    for line in sys.stdin:
        request, *parts = line.rstrip("\n").split("\t")
        fields = dict(part.split("=", 1) for part in parts)
        try:
            if request == "make":
                exact = make(Case(fields))
                answer = ""
            elif request == "check":
                mean, largest, passed = compare(fields["out"], fields["dtype"], exact, float(fields["tolerance"]))
                answer = f"mean={mean:.3e}\tlargest={largest:.3e}\tpassed={int(passed)}"
            else:
                answer = f"version=numpy {np.__version__}"
            print(f"ok\t{answer}", flush=True)
        except Exception as error:
            print("error\t" + " ".join(f"{type(error).__name__}: {error}".split())[:300], flush=True)


main()
