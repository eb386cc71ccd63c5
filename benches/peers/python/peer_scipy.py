"""scipy's CSR matrix. It has one thread."""
import scipy
import scipy.sparse
from serve import serve


def csr(case):
    if case.threads > 1:
        raise ValueError("runs on one thread only")
    w = scipy.sparse.csr_matrix(case.read("w.f32"))
    # x as the operator wants it, turned outside the measurement.
    x = case.read("x.f32").T.copy()
    y = [None]

    def call():
        y[0] = w @ x
    return call, lambda: y[0].T


serve("scipy " + scipy.__version__, {("sparse-f32", "CSR"): csr})
