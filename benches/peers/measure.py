"""Measures one peer against ours: prepares both, checks what both compute, then lets them take turns."""
import os
import statistics
import time

from families import footprint, operations
from workers import Failed, busy_seconds, ended_seconds


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


def take_turns(ours, peer, cpus, settings, processors=lambda: None):
    """Times ours, peer, ours, peer, ...; either may be missing. Returns the fields of a row.

    `processors` says, before and after each pair, whether the threads had a core each; other pairs do not count.
    """
    workers = [worker for worker in (ours, peer) if worker is not None]
    for worker in workers:
        worker.spread(settings.seconds)

    def used():
        return sum(worker.cpu_seconds() for worker in workers) + ended_seconds()

    began, pairs, shared = time.monotonic(), [], []
    busy, own = busy_seconds(cpus), used()
    whole = processors()
    while len(pairs) < settings.pairs and len(shared) < 2 * settings.pairs:
        if len(pairs) + len(shared) >= 3 and time.monotonic() - began > settings.most_seconds:
            break
        pair = [float(worker.ask("time", seconds=settings.seconds)["seconds"]) if worker else None for worker in (ours, peer)]
        before, whole = whole, processors()
        (shared if False in (before, whole) else pairs).append(pair)
    wall = time.monotonic() - began
    others = busy_seconds(cpus) - busy - used() + own
    row = {"pairs": len(pairs), "shared_pairs": len(shared), "other_cpu": round(max(0.0, others / wall / len(cpus)), 3)}
    pairs = pairs or shared
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
