#!/usr/bin/env python3
"""Runs our layers and the peers' side by side, and writes JSON lines, a Markdown table and a plot. See README.md."""
import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import time

import families
import measure
import plot
import report
import summary
from environments import ROOT, TARGET, Commands
from workers import Failed, Workers


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few shapes, families and repetitions: proves that it works, measures nothing")
    parser.add_argument("--families", help="comma separated beginnings of names: f32,int8,sparse-int8-1x4 (see families.py)")
    parser.add_argument("--shapes", help="comma separated MxKxN")
    parser.add_argument("--peers", help="comma separated parts of 'worker way': torch,gemm,tersor dense")
    parser.add_argument("--threads", help="comma separated counts; without it 1,2 (quick: 1)")
    parser.add_argument("--cpus", help="comma separated processors to pin to; without it the first that this process may use")
    parser.add_argument("--pairs", type=int, help="pairs of measurements for each peer")
    parser.add_argument("--report", metavar="JSONL", help="measure nothing: write the table and the plot of that file again")
    return parser.parse_args()


def chosen(arguments):
    """The families with the peers that are wanted, the shapes, and the thread counts."""
    starts = (arguments.families or "").split(",")
    picked = [family for family in families.FAMILIES if any(family.name.startswith(start) for start in starts)]
    if arguments.quick and not arguments.families:
        picked = [family for family in picked if family.quick]
    if arguments.shapes:
        shapes = [tuple(map(int, shape.split("x"))) for shape in arguments.shapes.split(",")]
    else:
        shapes = families.QUICK_SHAPES if arguments.quick else families.SHAPES
    parts = (arguments.peers or "").split(",")
    peers = {family.name: [peer for peer in (*family.peers, families.ONE_THREAD) if any(part in " ".join(peer) for part in parts)]
             for family in picked}
    threads = [int(count) for count in (arguments.threads or ("1" if arguments.quick else "1,2")).split(",")]
    if not picked or not any(peers.values()):
        sys.exit("run.py: no family or no peer is left")
    return [family for family in picked if peers[family.name]], shapes, peers, threads


def machine():
    with open("/proc/cpuinfo") as file:
        facts = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    name = facts.get("model name", "unknown processor")
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


def commit():
    git = ["git", "-C", ROOT]
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True).stdout.strip()
    return (name or "unknown") + (", changed" if changed else "")


def limits(commands, threads, cpus, quick):
    """What the Rust program finds the machine can do on these processors."""
    command = commands.of("limits", threads) + (["quick"] if quick else [])
    out = subprocess.run(command, check=True, capture_output=True, text=True,
                         preexec_fn=lambda: os.sched_setaffinity(0, set(cpus[:threads]))).stdout
    found = {"peaks": {}, "reads": {}}
    for line in out.splitlines():
        kind, name, rate = line.split("\t")
        found[f"{kind}s"][name] = float(rate)
    return found


def processors(commands, threads, cpus):
    """Whether the threads have a core each now: processors of a virtual machine may be the threads of one."""
    out = subprocess.run(commands.of("processors", threads), check=True, capture_output=True, text=True,
                         preexec_fn=lambda: os.sched_setaffinity(0, set(cpus[:threads]))).stdout
    return float(out) > 0.9 * threads


class Run:
    """One run: its workers, its settings, and the rows so far."""

    def __init__(self, workers, commands, head, cpus, settings, out):
        self.workers, self.commands, self.head, self.cpus, self.settings, self.out = workers, commands, head, cpus, settings, out
        self.rows = []

    def emit(self, row):
        for whose in ("ours", "peer"):
            if f"{whose}_s" in row:
                row[f"{whose}_of_limit"] = round(row["limit_s"] / row[f"{whose}_s"], 3)
        self.rows.append(row)
        self.out.write(json.dumps(row) + "\n")
        self.out.flush()
        said = row.get("error") or (f"{row['ratio']:.2f}" if "ratio" in row else row.get("ours_error", ""))
        times = " ".join(f"{name} {row[key] * 1e3:.4g} ms" for name, key in (("ours", "ours_s"), ("peer", "peer_s")) if key in row)
        print(f"{row['family']:20} {report.name(row['shape']):18} T{row['threads']} {report.label(row):28} {times} {said}", flush=True)

    def case(self, family, shape, peers, threads):
        """One family at one shape: ours against each peer at each thread count."""
        folder = os.path.join(TARGET, "cases", f"{family.name}-{'x'.join(map(str, shape))}")
        case = families.request(family, shape, folder)
        reference = self.workers.get("reference", 1)
        reference.ask("make", **case)
        for count in threads:
            limit_s, limit_by = measure.limit(self.head["limits"][str(count)], self.head["isa"], family, shape)
            row = {"family": family.name, "shape": list(shape), "threads": count, "limit_s": limit_s, "limit_by": limit_by}
            ours = None
            try:
                ours = self.workers.get("tersor", count, "ours")
                row["ours_check"] = measure.prepare(ours, reference, case, "", family.tolerance)
            except Failed as error:
                ours, row["ours_error"] = None, str(error)
            compared = [peer for peer in peers if count > 1 or peer != families.ONE_THREAD]
            if not compared:  # a filter left nobody: ours alone
                alone = measure.take_turns(ours, None, self.cpus[:count], self.settings, self.processors(count)) if ours else {}
                self.emit({**row, "worker": "", "way": "", **alone})
            for worker, way in compared:
                self.emit({**row, "worker": worker, "way": way, **self.against(ours, reference, case, family, (worker, way), count)})
            if ours:
                ours.drop()
        shutil.rmtree(folder)

    def processors(self, threads):
        if threads == 1:
            return lambda: None
        return lambda: processors(self.commands, threads, self.cpus)

    def against(self, ours, reference, case, family, peer, threads):
        found = {}
        try:
            process = self.workers.get(peer[0], 1 if peer == families.ONE_THREAD else threads)
            found["version"] = process.version
            found["check"] = measure.prepare(process, reference, case, peer[1], family.tolerance)
            found.update(measure.take_turns(ours, process, self.cpus[:threads], self.settings, self.processors(threads)))
            process.drop()
        except Failed as error:
            found["error"] = str(error)
        return found


def write(head, rows, stem):
    with open(stem + ".md", "w") as file:
        file.write(report.markdown(head, rows))
    with open(stem + "-summary.md", "w") as file:
        file.write(summary.markdown(rows) + "\nTwo threads against one:\n\n" + summary.scaling(rows))
    drawn = plot.svg(head, rows)
    if drawn:
        with open(stem + ".svg", "w") as file:
            file.write(drawn)
    print("\n" + report.markdown(head, rows))
    print(f"wrote {stem}.md" + (f" and {stem}.svg" if drawn else ""))


def main():
    arguments = parse()
    if arguments.report:
        with open(arguments.report) as file:
            head, *rows = map(json.loads, file)
        return write(head, rows, os.path.splitext(arguments.report)[0])
    picked, shapes, peers, threads = chosen(arguments)
    cpus = [int(cpu) for cpu in arguments.cpus.split(",")] if arguments.cpus else sorted(os.sched_getaffinity(0))
    if len(cpus) < max(threads):
        sys.exit(f"run.py: {max(threads)} threads need as many processors; there are {len(cpus)}")
    settings = measure.Settings(arguments.quick)
    settings.pairs = arguments.pairs or settings.pairs
    logs = os.path.join(TARGET, "logs")
    os.makedirs(logs, exist_ok=True)
    needed = {"reference", "tersor", "limits", "processors"} | {worker for family in picked for worker, _ in peers[family.name]}
    commands = Commands(needed)

    began = time.monotonic()
    date = datetime.datetime.now(datetime.timezone.utc)
    head = {"machine": machine(), "date": date.strftime("%Y-%m-%d"), "commit": commit(), "quick": arguments.quick,
            "limits": {str(count): limits(commands, count, cpus, arguments.quick) for count in threads}}
    workers = Workers(commands, cpus, logs)
    stem = os.path.join(TARGET, date.strftime("%Y%m%d-%H%M%S"))
    try:
        head["isa"] = workers.get("tersor", threads[0], "ours").hello["isa"]
        with open(stem + ".jsonl", "w") as out:
            out.write(json.dumps(head) + "\n")
            run = Run(workers, commands, head, cpus, settings, out)
            for family in picked:
                for shape in shapes:
                    run.case(family, shape, peers[family.name], threads)
    finally:
        workers.end()
        shutil.rmtree(os.path.join(TARGET, "cases"), ignore_errors=True)
    write(head, run.rows, stem)
    print(f"{len(run.rows)} rows in {time.monotonic() - began:.0f} s: {stem}.jsonl")


if __name__ == "__main__":
    main()
