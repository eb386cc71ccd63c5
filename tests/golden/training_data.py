"""What the optimizer and loss scaling cases of all toolkits share: parameters, gradients, and where they overflow.

Optimizers see 67 elements, so that vector code has a tail at every width. Each element keeps one magnitude between
1e-6 and 1e3 over all steps; every fifth element has a zero gradient at every third step, element 10 has zero
gradients only, and element 20 meets a sudden large gradient. Nothing here squares to a subnormal number, which some
toolkits flush to zero.
"""

import numpy

ELEMENTS = 67
STEPS = 40
SCALING_STEPS = 220

NON_FINITE = {1: numpy.inf, 2: -numpy.inf, 3: numpy.nan}


def initial_parameters():
    """`[67]` f32: normal values, with some zeros, large and tiny ones."""
    parameters = numpy.random.default_rng(1).standard_normal(ELEMENTS).astype(numpy.float32)
    parameters[[3, 30]] = 0.0
    parameters[[4, 40]] = [1.0e4, -2.5e3]
    parameters[[5, 50]] = [1.0e-8, -3.0e-5]
    return parameters


def gradients():
    """`[40, 67]` f32."""
    random = numpy.random.default_rng(2)
    magnitude = 10.0 ** random.uniform(-6.0, 3.0, ELEMENTS)
    values = random.standard_normal((STEPS, ELEMENTS)) * magnitude
    values[::3, ::5] = 0.0
    values[:, 10] = 0.0
    values[7, 20] = 4.0e5
    return values.astype(numpy.float32)


def overflow_kinds(pattern):
    """Which of 220 steps meet a non-finite gradient, `[220]` u8: 0 none, 1 +infinity, 2 -infinity, 3 NaN."""
    random = numpy.random.default_rng(5)
    kinds = numpy.zeros(SCALING_STEPS, dtype=numpy.uint8)
    if pattern == "sparse":
        kinds[[0, 17, 40, 41, 42, 43, 90, 150, 199]] = [1, 2, 3, 1, 1, 2, 3, 3, 1]
    elif pattern == "random":
        kinds = numpy.where(random.random(SCALING_STEPS) < 0.15, random.integers(1, 4, SCALING_STEPS), 0)
    elif pattern == "burst":
        kinds[60:110] = 1
    elif pattern == "long_burst":
        kinds[:190] = 3
    elif pattern == "always":
        kinds[:] = 1
    elif pattern == "late":
        kinds[120:140:3] = 1  # After a scale has reached the largest value it can.
    elif pattern == "at_growth":
        kinds[[4, 9, 14, 20, 25, 31]] = 1  # Just when, and just after, an interval of 5 would be full.
    elif pattern != "never":
        raise ValueError(pattern)
    return kinds.astype(numpy.uint8)


def overflowing_gradients(kinds, ordinary):
    """`[220, 3]` f32: one element that is always `ordinary`, one that is zero, one that is what the step asks for."""
    values = numpy.zeros((SCALING_STEPS, 3), dtype=numpy.float32)
    values[:, 0] = ordinary
    values[:, 2] = [NON_FINITE.get(kind, 0.5) for kind in kinds]
    return values


def scaled_gradients():
    """`[60, 67]` f32 in the reach of a scale of 2^15; four of the steps have one non-finite element."""
    values = (numpy.random.default_rng(6).standard_normal((60, ELEMENTS)) * 2.0**15).astype(numpy.float32)
    for step, element, value in ((0, 3, numpy.inf), (13, 66, -numpy.inf), (14, 0, numpy.nan), (37, 40, numpy.inf)):
        values[step, element] = value
    return values
