"""The Markdown of a run in one table: ours beside the best peer of each family, on one thread."""
import families
from report import milliseconds, name

COLUMNS = [
    ("f32", "f32"), ("f16", "f16"), ("int8-dynamic", "int8"), ("int4-128", "int4, groups of 128"),
    ("sparse-int8-16x4-75", "sparse int8, 75%"), ("sparse-int8-16x4-90", "sparse int8, 90%"),
    ("sparse-int8-16x64-75", "16x64, 75%"), ("sparse-int8-16x64-90", "16x64, 90%"), ("sparse-f32-90", "sparse f32, 90%"),
]


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def cell(rows):
    """Ours in ms, of our own dense layer where there is one, and the peer that comes closest, or wins."""
    ours = [row["ours_s"] for row in rows if "ours_s" in row]
    if not ours:
        return ""
    text = milliseconds(median(ours))
    dense = [row["ratio"] for row in rows if row["worker"] == "tersor" and row["way"] == "dense" and "ratio" in row]
    if dense:
        text += f", {dense[0]:.2f}x dense"
    peers = [row for row in rows if row["worker"] not in ("tersor", "") and "ratio" in row]
    if peers:
        best = min(peers, key=lambda row: row["ratio"])
        ratio = f"{best['ratio']:.2f}"
        text += f", {'**' + ratio + '**' if best['ratio'] < 1 else ratio} {best['worker'] if best['worker'] != 'tflite' else 'XNNPACK'}"
    return text


def markdown(rows):
    found = {column: [row for row in rows if row["family"] == column and row["threads"] == 1] for column, _ in COLUMNS}
    columns = [(column, title) for column, title in COLUMNS if found[column]]
    shapes = [shape for shape in families.SHAPES if any(tuple(row["shape"]) == shape for row in rows)]
    lines = ["| (M, K, N) | " + " | ".join(title for _, title in columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for shape in shapes:
        cells = [cell([row for row in found[column] if tuple(row["shape"]) == shape]) for column, _ in columns]
        lines.append("| " + " | ".join([name(shape), *cells]) + " |")
    return "\n".join(lines) + "\n"


def scaling(rows):
    """What two threads are worth, by family: each shape of 100 MFLOP and more."""
    lines = []
    for family in families.FAMILIES:
        of_family = [row for row in rows if row["family"] == family.name and row["threads"] == 2
                     and (row["worker"], row["way"]) == families.ONE_THREAD and "ratio" in row]
        large = [row for row in of_family if families.operations(family, row["shape"]) >= 1e8]
        if large:
            cells = ", ".join(f"{name(row['shape'])} {row['ratio']:.2f}" for row in large)
            lines.append(f"- {family.title}: {cells}")
    return "\n".join(lines) + "\n"
