"""Measures one peer against ours: prepares both, checks what both compute, then lets them take turns."""
import os
import statistics
import time

from families import footprint, operations
from workers import Failed, busy_seconds


class Settings:
    """How long and how often."""

    def __init__(self, quick):
        self.pairs, self.seconds, self.most_seconds = (3, 0.003, 2.0) if quick else (15, 0.02, 12.0)


def prepare(worker, reference, case, way, tolerance):
    """Prepares a layer and checks its result; returns the check."""
    out = os.path.join(case["folder"], f"y-{worker.process.pid}")
    ready = worker.ask("prepare", way=way, out=out, **case)
    check = reference.ask("check", out=out, dtype=ready["dtype"], tolerance=tolerance, **case)
    os.remove(out)
    if check["passed"] != "1":
        raise Failed(f"wrong result: error {check['mean']} (largest {check['largest']}), allowed {tolerance} (8 times that)")
    return check


def take_turns(ours, peer, cpus, settings):
    """Times ours, peer, ours, peer, ...; either may be missing. Returns the fields of a row."""
    workers = [worker for worker in (ours, peer) if worker is not None]
    for worker in workers:
        worker.spread(settings.seconds)
    began, pairs = time.monotonic(), []
    busy, own = busy_seconds(cpus), sum(worker.cpu_seconds() for worker in workers)
    while len(pairs) < settings.pairs:
        if len(pairs) >= 3 and time.monotonic() - began > settings.most_seconds:
            break
        pairs.append([float(worker.ask("time", seconds=settings.seconds)["seconds"]) if worker else None for worker in (ours, peer)])
    wall = time.monotonic() - began
    others = busy_seconds(cpus) - busy - sum(worker.cpu_seconds() for worker in workers) + own
    row = {"pairs": len(pairs), "other_cpu": round(max(0.0, others / wall / len(cpus)), 3)}
    if ours:
        row["ours_s"] = statistics.median(pair[0] for pair in pairs)
    if peer:
        row["peer_s"] = statistics.median(pair[1] for pair in pairs)
    if ours and peer:
        row["ratio"] = statistics.median(peer_s / ours_s for ours_s, peer_s in pairs)
    return row


def limit(limits, isa, family, shape):
    """The least time that this machine needs for the layer, and what sets it.

    The larger of: the operations at the peak of the instruction set, and the bytes at the read bandwidth of their footprint
    (interpolated between the measured ones).
    """
    times = {}
    peak = limits["peaks"].get(f"{family.peak}-{isa}")
    if peak:
        times[f"{peak:.0f} GOP/s"] = operations(family, shape) / peak / 1e9
    reads = sorted((int(size), rate) for size, rate in limits["reads"].items())
    size = footprint(family, shape)
    rate = reads[-1][1] if size >= reads[-1][0] else reads[0][1]
    for (low, low_rate), (high, high_rate) in zip(reads, reads[1:]):
        if low <= size < high:
            rate = low_rate + (high_rate - low_rate) * (size - low) / (high - low)
    times[f"{rate:.0f} GB/s"] = size / rate / 1e9
    what = max(times, key=times.get)
    return times[what], what
