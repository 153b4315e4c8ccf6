"""The report's drawings."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from semblance.benchmarks.result import Result, Row

# Inches.
SIZE = (9.0, 4.5)
BAR = 0.35
DPI = 110
# Of stages and lines; distinguishable for people who are colour-blind (Okabe and Ito, 2008).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#999999", "#D55E00")
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
