"""The report's drawings."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from semblance.benchmarks.figure import Figure
from semblance.benchmarks.result import Result, Row

# Inches.
SIZE = (9.0, 4.5)
BAR = 0.35
DPI = 110
# Of stages and lines; distinguishable for people who are colour-blind (Okabe and Ito, 2008).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#999999", "#D55E00")
# A figure's parts of this name, and others that begin alike, tell of layouts of the index.
LAYOUT = "layout_dimension"
STAGES = ("decode", "queue", "compute", "transport", "search", "overhead")


def latency_against_throughput(result: Result, file: Path) -> None:
    """A line for each setting but the last one named, which is the load; a point for each load: p50, dashed p99."""
    drawing = Drawing(figsize=SIZE, layout="constrained")
    axes = drawing.add_subplot()
    lines: dict[str, list[Row]] = defaultdict(list)
    for row in result.rows:
        lines[", ".join(f"{name} {value}" for name, value in list(row.setting.items())[:-1])].append(row)
    for colour, (label, rows) in zip(COLOURS * len(lines), lines.items(), strict=False):
        rates = [row.rate for row in rows]
        axes.plot(rates, [1000 * row.latency.p50 for row in rows], "o-", color=colour, label=f"{label} p50".strip())
        axes.plot(rates, [1000 * row.latency.p99 for row in rows], "x--", color=colour, label=f"{label} p99".strip())
    axes.set(xlabel="a second", ylabel="latency, ms", xlim=(0, None), yscale="log", title=result.name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    drawing.savefig(file, dpi=DPI)


def stages(result: Result, file: Path) -> None:
    """A bar for each row, stacked from its stages."""
    drawing = Drawing(figsize=(SIZE[0], 1.5 + BAR * len(result.rows)), layout="constrained")
    axes = drawing.add_subplot()
    labels = [", ".join(f"{name} {value}" for name, value in row.setting.items()) for row in result.rows]
    left = [0.0] * len(labels)
    for stage, colour in zip(STAGES, COLOURS, strict=False):
        # What is computed as a difference of two means can come out a little below nothing.
        widths = [max(0.0, 1000 * getattr(row.stages, stage)) for row in result.rows]
        axes.barh(labels, widths, left=left, color=colour, label=stage)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="ms of a request", title=f"{result.name}: where the time goes")
    drawing.legend(fontsize="small", loc="outside lower center", ncols=len(STAGES))
    drawing.savefig(file, dpi=DPI)


def cost_against_rows(result: Result, file: Path) -> None:
    """Of searches in Milvus alone, against the rows of the collection: median latency, and CPU time of its process. A
    line for each number in flight."""
    lines: dict[str, list[Row]] = defaultdict(list)
    for row in result.rows:
        lines[f"{row.setting['in flight']} in flight"].append(row)
    drawing = Drawing(figsize=SIZE, layout="constrained")
    latency, cpu = drawing.subplots(1, 2)
    for colour, (label, rows) in zip(COLOURS * len(lines), lines.items(), strict=False):
        sizes = [int(row.setting["rows"]) for row in rows]
        latency.plot(sizes, [1000 * row.latency.p50 for row in rows], "o-", color=colour, label=label)
        cpu.plot(sizes, [1000 * row.cpu["milvus"] for row in rows], "o-", color=colour)
    for axes, name in ((latency, "latency p50, ms"), (cpu, "CPU of a search, ms")):
        axes.set(xlabel="vectors in the collection", ylabel=name, xscale="log", ylim=(0, None))
        axes.grid(alpha=0.3)
    latency.legend(fontsize="small")
    drawing.suptitle(f"{result.name}: cost against catalogue size")
    drawing.savefig(file, dpi=DPI)


def layouts(figure: Figure, file: Path) -> None:
    """Of `scale`: recall against the growth of p50, and against memory. A line for each length of vectors and M, along
    which `ef` grows; dashed is what exact search by vectors of that length finds."""
    names = ("dimension", "m", "ef", "exact_recall", "recall", "p50_ratio", "bytes_per_row")
    columns = [figure.parts[f"layout_{name}"] for name in names]
    lines: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for dimension, m, *point in zip(*columns, strict=True):
        lines[f"{dimension:g} numbers, M {m:g}"].append(tuple(point))
    drawing = Drawing(figsize=(11, SIZE[1]), layout="constrained")
    time, memory = drawing.subplots(1, 2, sharey=True)
    for colour, (label, points) in zip(COLOURS * len(lines), lines.items(), strict=False):
        efs, exact, recalls, ratios, row_bytes = zip(*points, strict=True)
        time.plot(ratios, recalls, "o-", color=colour, label=label)
        time.axhline(exact[0], color=colour, linestyle="--", linewidth=0.8)
        for ef, place in zip(efs, zip(ratios, recalls, strict=True), strict=True):
            time.annotate(f"{ef:g}", place, fontsize="x-small", xytext=(4, -9), textcoords="offset points")
        memory.plot(row_bytes, recalls, "o", color=colour)
    time.axvline(figure.measures["p50_ratio"].target, color="black", linestyle=":")
    for axes in (time, memory):
        axes.axhline(figure.measures["recall"].target, color="black", linestyle=":")
        axes.grid(alpha=0.3)
    time.set(xlabel="p50 over that of a small collection; beside each point ef", ylabel="recall@10 of exact search")
    memory.set(xlabel="resident memory of a row, bytes", xlim=(0, None))
    time.legend(fontsize="small")
    drawing.suptitle(f"{figure.name}: dotted are the bars, dashed what the length of the vectors alone allows")
    drawing.savefig(file, dpi=DPI)
