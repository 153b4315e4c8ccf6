"""Runs figures and scenarios by name, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from semblance.benchmarks import (
    alternatives,
    efficiency,
    experiment,
    ingest,
    latency,
    overhead,
    overload,
    ray_jobs,
    scale,
    scenarios,
    swap,
)
from semblance.benchmarks.experiment import PATIENT, Experiment
from semblance.benchmarks.figure import Figure
from semblance.benchmarks.host import Host
from semblance.benchmarks.result import Result
from semblance.benchmarks.scenario import Scenario, ScenarioError, Suite

# Each measures its figure and is told the command that does so.
FIGURES: dict[str, Callable[[Experiment, str], Figure]] = {
    module.NAME: module.measure
    for module in (
        efficiency,
        overhead,
        latency,
        ingest,
        alternatives,
        scale,
        overload,
        swap,
        ray_jobs,
    )
}


class UnknownName(Exception):
    """Neither a figure nor a scenario has this name."""


def run(names: Sequence[str], suite: Suite, out: Path, console: Console) -> None:
    """Measures those named, or all, and writes each into `out` when it is done.

    Raises UnknownName, or ScenarioError where a scenario has a figure's name, before anything is measured.
    """
    declared = {scenario.name: scenario for scenario in suite.scenarios}
    if clash := FIGURES.keys() & declared.keys():
        raise ScenarioError(f"scenarios have the names of figures: {', '.join(sorted(clash))}; rename them")
    known = [*FIGURES, *declared]
    if unknown := [name for name in names if name not in known]:
        raise UnknownName(f"no figure or scenario is called {', '.join(unknown)}; there are {', '.join(known)}")
    with experiment.prepared(suite, out / "world", console) as prepared:
        for name in names or known:
            console.rule(f"[bold]{name}", align="left")
            command = f'make bench BENCH="{name}"'
            if name in FIGURES:
                figure = FIGURES[name](prepared, command)
                figure.write(out)
                console.print(table(figure))
            else:
                result = measured(declared[name], prepared, command)
                result.write(out)
                console.print(*result.tables(), sep="\n")


def measured(scenario: Scenario, prepared: Experiment, command: str) -> Result:
    with prepared.started(scenario.models, PATIENT) as service:
        host = Host.here(service.versions)
        rows = []
        for row in scenarios.measure(scenario, prepared, service):
            prepared.console.print(f"{scenario.name} {dict(row.setting)}: {row.rate:.1f} a second")
            rows.append(row)
    return Result(scenario.name, scenario.kind, command, host, tuple(rows))


def table(figure: Figure) -> Table:
    shown = Table("figure", "value", "half of the rounds within", "bar", "reached")
    for name, measure in figure.measures.items():
        low, high = measure.spread
        sign = "≥" if measure.better == "higher" else "≤"
        shown.add_row(
            f"{figure.name} {name}".strip(),
            f"{measure.value:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{sign} {measure.target:g}",
            "yes" if measure.reached else "no",
        )
    return shown
