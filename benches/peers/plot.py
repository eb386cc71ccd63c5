"""A plot of speed-up against sparsity, written as SVG by hand: ours over our own dense layer, with the crossover marked."""
import math

from families import FAMILIES

COLOURS = ["#0b62a4", "#d9480f", "#2b8a3e", "#862e9c", "#c92a2a", "#0c8599", "#5f3dc4", "#e67700", "#495057", "#a61e4d", "#364fc7", "#66a80f", "#087f5b"]
WIDTH, HEIGHT, LEFT, TOP, LEGEND = 430, 300, 52, 44, 260


def series(rows):
    """{(pattern, threads): {shape: [(sparsity, speed-up)]}}: our dense layer's time over our sparse layer's."""
    families = {family.name: family for family in FAMILIES}
    found = {}
    for row in rows:
        family = families.get(row["family"])
        if family and family.sparsity and (row["worker"], row["way"]) == ("tersor", "dense") and "ratio" in row:
            title = "f32, unstructured" if family.kind == "sparse-f32" else f"int8, blocks of {family.pattern}"
            lines = found.setdefault((title, row["threads"]), {})
            lines.setdefault(tuple(row["shape"]), []).append((100 * family.sparsity, row["ratio"]))
    for lines in found.values():
        for points in lines.values():
            points.sort()
    return found


def crossover(points):
    """The sparsity from which on it pays: where the line through the points last rises over 1, a bound, or None."""
    slow = [index for index, (_, speed_up) in enumerate(points) if speed_up < 1]
    if not slow:
        return "below", points[0][0]
    if slow[-1] == len(points) - 1:
        return None
    (x0, y0), (x1, y1) = points[slow[-1]], points[slow[-1] + 1]
    # The axis is logarithmic, and so is the line.
    return "at", x0 + (x1 - x0) * math.log(1 / y0) / math.log(y1 / y0)


def said(found):
    if found is None:
        return "not up to here"
    return f"pays below {found[1]:.0f}%" if found[0] == "below" else f"pays from {found[1]:.0f}%"


def times(level):
    return f"{level:g}x" if level >= 1 else f"1/{1 / level:g}x"


def panel(title, lines, left, above):
    points = [point for line in lines.values() for point in line]
    # Powers of two around everything, 1 always among them.
    low = 2 ** math.floor(math.log2(min(0.99, min(y for _, y in points))))
    high = 2 ** math.ceil(math.log2(max(1.01, max(y for _, y in points))))
    first, last = min(x for x, _ in points) - 2, max(x for x, _ in points) + 2

    def at(x, y):
        across = LEFT + (x - first) / (last - first) * WIDTH
        return left + across, above + TOP + HEIGHT * (1 - math.log(y / low) / math.log(high / low))

    out = [f'<text x="{left + LEFT}" y="{above + TOP - 16}" font-weight="bold">{title}</text>']
    level = low
    while level <= high:
        (x0, y), (x1, _) = at(first, level), at(last, level)
        style = 'stroke="#000" stroke-width="1.4"' if level == 1 else 'stroke="#ccc"'
        out.append(f'<path d="M{x0:.1f} {y:.1f}H{x1:.1f}" {style}/><text x="{x0 - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{times(level)}</text>')
        level *= 2
    for x in sorted({x for x, _ in points}):
        (across, bottom) = at(x, low)
        out.append(f'<path d="M{across:.1f} {bottom:.1f}v5" stroke="#000"/><text x="{across:.1f}" y="{bottom + 19:.1f}" text-anchor="middle">{x:.0f}%</text>')
    out.append(f'<text x="{left + LEFT + WIDTH / 2}" y="{above + TOP + HEIGHT + 38}" text-anchor="middle">weights that are zero</text>')
    for index, (shape, line) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = "L".join("{:.1f} {:.1f}".format(*at(x, y)) for x, y in line)
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += ['<circle cx="{:.1f}" cy="{:.1f}" r="2.5" fill="{}"/>'.format(*at(x, y), colour) for x, y in line]
        found = crossover(line)
        if found and found[0] == "at":
            out.append('<circle cx="{:.1f}" cy="{:.1f}" r="6" fill="#fff" stroke="{}" stroke-width="2.5"/>'.format(*at(found[1], 1), colour))
        row = above + TOP + 10 + 18 * index
        right = left + LEFT + WIDTH + 14
        out.append(f'<path d="M{right} {row}h18" stroke="{colour}" stroke-width="3"/><text x="{right + 24}" y="{row + 4}">{"x".join(map(str, shape))}: {said(found)}</text>')
    return out


def svg(head, rows):
    """The whole plot, or None if no sparse layer was measured against a dense one."""
    found = series(rows)
    if not found:
        return None
    # A row for each pattern, a column for each thread count.
    patterns = list(dict.fromkeys(title for title, _ in found))
    counts = sorted({threads for _, threads in found})
    across, down = LEFT + WIDTH + LEGEND, TOP + HEIGHT + 60
    out = []
    for (title, threads), lines in found.items():
        left, above = counts.index(threads) * across, patterns.index(title) * down
        out += panel(f"{title}, {threads} thread{'s' * (threads > 1)}", lines, left, above)
    width, height = across * len(counts), down * len(patterns) + 40
    notes = ["Speed-up over our own dense layer of the same type, MxKxN; a ring marks where it begins to pay.",
             f"{head['machine']}, {head['isa']}, {head['date']}{', quick' if head['quick'] else ''}"]
    notes = [note.replace("&", "&amp;").replace("<", "&lt;") for note in notes]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>', *out,
        *(f'<text x="{LEFT}" y="{height - 26 + 18 * line}" fill="#444">{note}</text>' for line, note in enumerate(notes)), "</svg>", ""])
