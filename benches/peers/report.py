"""The Markdown of a run: a table for each family and thread count, ready for a README."""
from families import FAMILIES


def name(shape):
    return "({}, {}, {})".format(*shape)


def label(row):
    return f"{row['worker']} {row['way']}".strip()


def milliseconds(seconds):
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def cell(row):
    """The ratio, bold where the peer wins, and the peer's time."""
    if row is None:
        return ""
    if "error" in row:
        return "fails"
    if "ratio" not in row:
        return f"({milliseconds(row['peer_s'])})"
    ratio = f"{row['ratio']:.2f}"
    return f"{'**' + ratio + '**' if row['ratio'] < 1 else ratio} ({milliseconds(row['peer_s'])})"


def ours_cells(rows):
    times = sorted(row["ours_s"] for row in rows if "ours_s" in row)
    if not times:
        return [next((row["ours_error"] for row in rows if "ours_error" in row), ""), ""]
    middle = times[len(times) // 2]
    limit_s, limit_by = rows[0]["limit_s"], rows[0]["limit_by"]
    return [milliseconds(middle), f"{100 * limit_s / middle:.0f}% of {limit_by}"]


def table(rows, family, threads):
    rows = [row for row in rows if row["family"] == family.name and row["threads"] == threads]
    if not rows:
        return []
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    labels = list(dict.fromkeys(label(row) for row in rows if row["worker"]))
    lines = [f"### {family.title}, {threads} thread{'s' * (threads > 1)}", "",
             "| " + " | ".join(["(M, K, N)", "tersor ms", "of the limit", *labels]) + " |",
             "|---" * (3 + len(labels)) + "|"]
    for shape in shapes:
        of_shape = [row for row in rows if tuple(row["shape"]) == shape]
        by_label = {label(row): row for row in of_shape if row["worker"]}
        lines.append("| " + " | ".join([name(shape), *ours_cells(of_shape), *(cell(by_label.get(peer)) for peer in labels)]) + " |")
    reasons = {}
    for row in rows:
        if "error" in row:
            reasons.setdefault((label(row), row["error"]), []).append(name(row["shape"]))
    lines += [""] + [f"- {peer} fails at {', '.join(where)}: {why}" for (peer, why), where in reasons.items()]
    return lines + ([""] if reasons else [])


def markdown(head, rows):
    versions = ", ".join(sorted({row["version"] for row in rows if row.get("version")}))
    limits = []
    for threads, found in head["limits"].items():
        peaks = ", ".join(f"{peak} {rate:.0f} GOP/s" for peak, rate in found["peaks"].items())
        reads = ", ".join(f"{int(size) / 2**20:g} MiB {rate:.0f}" for size, rate in found["reads"].items())
        limits.append(f"Limits at {threads} thread{'s' * (int(threads) > 1)}: {peaks}; reading, GB/s: {reads}.")
    lines = [
        f"{head['machine']}, instruction set {head['isa']}, {head['date']}, commit {head['commit']}{', quick' if head['quick'] else ''}.",
        f"Peers: {versions}.",
        *limits,
        "",
        "x[M, K] times w[N, K]^T. A cell is the peer's time over ours, the median of pairs measured in turns on the same pinned"
        " processors, and the peer's median in ms. **Below 1 the peer wins.** \"Of the limit\" is the least time that the"
        " machine's measured limits allow, over ours.",
        "",
    ]
    disturbed = [row["other_cpu"] for row in rows if row.get("other_cpu", 0) > 0.04]
    if disturbed:
        lines += [f"DISTURBED: in {len(disturbed)} of {len(rows)} rows others used more than 4% of the processors (up to"
                  f" {100 * max(disturbed):.0f}%). Not for publication.", ""]
    shared = [row for row in rows if row.get("shared_pairs")]
    if shared:
        without = sum(not row["pairs"] for row in shared)
        lines += [f"In {len(shared)} of {len(rows)} rows the machine had fewer cores than threads for some of the time: {sum(row['shared_pairs'] for row in shared)}"
                  f" pairs do not count; {without} rows have no others.", ""]
    for threads in sorted({row["threads"] for row in rows}):
        for family in FAMILIES:
            lines += table(rows, family, threads)
    return "\n".join(lines) + "\n"
