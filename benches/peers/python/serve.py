"""The worker's side of the protocol: holds one prepared layer and times it when told to. See ../README.md."""
import gc
import math
import os
import sys
import time

import numpy as np
from case import Case


def repeat(call, calls):
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return max(time.perf_counter() - began, 1e-9) / calls


class Held:
    """A layer, and how long a call takes by the last measurement."""

    def __init__(self, call):
        self.call = call
        self.estimate = repeat(call, 1)

    def time(self, seconds):
        """Calls for a tenth of `seconds`, then measures calls for `seconds`."""
        if self.estimate < seconds:
            self.estimate = repeat(self.call, math.ceil(seconds / 10 / self.estimate))
        calls = max(1, round(seconds / self.estimate))
        self.estimate = repeat(self.call, calls)
        return self.estimate, calls


def serve(version, ways):
    """Answers requests until the input ends.

    `ways` maps (kind, way) to a function that takes a Case and returns two: one that runs the layer once, and one that
    returns what the last run computed, [M, N].
    """
    # Libraries that print would disturb the protocol: what they print goes where errors go.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    held = None
    for line in sys.stdin:
        request, *parts = line.rstrip("\n").split("\t")
        fields = dict(part.split("=", 1) for part in parts)
        try:
            if request == "hello":
                answer = f"version={version}"
            elif request == "prepare":
                held = None
                gc.collect()
                way = ways.get((fields["kind"], fields["way"]))
                if way is None:
                    raise ValueError(f"has no {fields['kind']} layer")
                call, output = way(Case(fields))
                call()
                values = np.ascontiguousarray(output())
                values.tofile(fields["out"])
                held = Held(call)
                gc.disable()
                answer = f"dtype={values.dtype.name}"
            elif request == "time":
                seconds, calls = held.time(float(fields["seconds"]))
                answer = f"seconds={seconds:e}\tcalls={calls}"
            elif request == "drop":
                held, answer = None, ""
            else:
                raise ValueError(f"unknown request {request}")
            answers.write(f"ok\t{answer}\n")
        except Exception as error:  # a peer that cannot do it is a result too
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            answers.write(f"error\t{reason[:300]}\n")
