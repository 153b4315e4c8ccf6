"""`benchmarks/REPORT.md` from what was measured: the figures, and each scenario with its plots."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from semblance.benchmarks import plots
from semblance.benchmarks.figure import Figure
from semblance.benchmarks.host import Host
from semblance.benchmarks.result import Result

REPORT = "REPORT.md"
RESULTS = "results"
INTRODUCTION = """\
# Benchmarks

Written by `make bench-report` from the results in [`results/`](results). How each was measured, and what the words
mean, is in [docs/benchmarking.md](../docs/benchmarking.md).

Each figure is a ratio of two things that took turns in one run on one host; absolute rates and times differ from host
to host, and are here to show what the ratios are made of.
"""


class NothingMeasured(Exception):
    """The folder of results is empty."""


def write(out: Path, home: Path) -> Path:
    """Copies the results of `out` into `home`/results, draws the plots there, and writes `home`/REPORT.md.

    What was published before and not measured again stays; each has its commit.

    Raises:
        NothingMeasured: `out` has none.
    """
    measured = [*out.glob("*.json"), *(out / "scenarios").glob("*")]
    if not measured:
        raise NothingMeasured(f"{out} has no results; run `make bench` first")
    kept = home / RESULTS
    kept.mkdir(parents=True, exist_ok=True)
    for path in measured:
        shutil.copy(path, kept)
    published = sorted(kept.glob("*.json"))
    # A scenario has its rows as CSV beside it.
    scenarios = [path for path in published if path.with_suffix(".csv").exists()]
    figures = [Figure.read(path) for path in published if path not in scenarios]
    results = [Result.read(path) for path in scenarios]
    sections = [INTRODUCTION]
    if figures:
        sections.append(_figures(figures))
    for figure in figures:
        if plots.LAYOUT in figure.parts:
            plots.layouts(figure, kept / f"{figure.name}.png")
    texts = [_scenario(result, kept) for result in results]
    # Those that measurements drew themselves.
    others = sorted(path.name for path in kept.glob("*.png") if not any(path.name in text for text in texts))
    sections += [f"![{name}]({RESULTS}/{name})\n" for name in others] + texts
    report = home / REPORT
    report.write_text("\n".join(sections), encoding="utf-8")
    return report


def _figures(figures: Sequence[Figure]) -> str:
    rows = [
        (
            f"{figure.name} {name}".strip(),
            f"{measure.value:.3f}",
            f"{'≥' if measure.better == 'higher' else '≤'} {measure.target:g}",
            "yes" if measure.reached else "**no**",
            "{:.3f} to {:.3f}".format(*measure.spread),
            str(len(measure.samples)),
            f"`{figure.command}`",
        )
        for figure in figures
        for name, measure in figure.measures.items()
    ]
    table = _table(("figure", "value", "bar", "reached", "half of the rounds within", "rounds", "command"), rows)
    hosts = "\n".join(f"### {figure.name}\n\n{_host(figure.environment)}" for figure in figures)
    return f"## Figures\n\n{table}\n{hosts}"


def _scenario(result: Result, kept: Path) -> str:
    drawings = {"latency": plots.latency_against_throughput, "stages": plots.stages}
    if len({row.setting.get("rows") for row in result.rows}) > 1:
        drawings["rows"] = plots.cost_against_rows
    for name, draw in drawings.items():
        draw(result, kept / f"{result.name}-{name}.png")
    rows = [row.flat() for row in result.rows]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = ([_cell(row.get(column, "")) for column in columns] for row in rows)
    images = "\n".join(f"![{result.name}, {name}]({RESULTS}/{result.name}-{name}.png)" for name in drawings)
    return (
        f"## Scenario `{result.name}`\n\n`{result.command}`\n\n{_table(columns, cells)}\n{images}\n\n"
        f"{_host(result.environment)}"
    )


def _host(host: Host) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in host.versions.items())
    lines = [
        f"{host.cores} cores of {host.cpu} ({', '.join(host.features)}), {host.memory:g} GiB, {host.system}",
        f"{versions}; commit {host.commit}",
        *host.notes,
    ]
    return "".join(f"- {line}\n" for line in lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(value: str | float) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"
