"""`efficiency`: the chain's throughput at saturation over the floor."""

from __future__ import annotations

from dataclasses import asdict, replace

from semblance.benchmarks import floor, load
from semblance.benchmarks.experiment import Experiment, Parts, client_note, interleaved, others_note
from semblance.benchmarks.figure import Figure, Measure
from semblance.benchmarks.host import Host

NAME = "efficiency"
# Shares of the floor by name of the models: the design's performance budget.
TARGETS = {"fp32": 0.95, "fastest": 0.85}


def measure(experiment: Experiment, command: str) -> Figure:
    """Of those of the models in `TARGETS` that the suite names packages of. Raises ScenarioError before it begins."""
    measures, parts, shares, others = {}, {}, [], []
    notes: list[str] = []
    names = [name for name in TARGETS if name in experiment.suite.packages]
    for name in names:
        experiment.suite.models(name)
    for name in names:
        ratios, rounds, host = _rounds(experiment, name)
        notes += host.notes
        measures[name] = Measure(tuple(ratios), TARGETS[name], "higher")
        parts.update(rounds.frozen(f"{name}_"))
        shares += rounds.numbers["client_share"]
        others += rounds.numbers["others_share"]
    host = replace(host, notes=(*notes, client_note(shares), others_note(others)))
    return Figure(NAME, measures, command, host, parts)


def _rounds(experiment: Experiment, name: str) -> tuple[list[float], Parts, Host]:
    settings, photos = experiment.suite.figures, experiment.world.photos
    ratios: list[float] = []
    parts = Parts()
    with (
        experiment.started(name) as service,
        floor.opened(photos, service, experiment.folder) as bottom,
    ):
        host = Host.here(service.versions).noting(
            f"{name}: best batches {bottom.batches}, {bottom.objects:.2f} objects"
        )

        def chain() -> load.Load:
            return load.search(
                service,
                photos,
                in_flight=settings.in_flight,
                seconds=2 * settings.seconds,
            )

        for before, loaded, after in interleaved(settings.rounds, lambda: bottom.measure(settings.seconds), chain):
            cost = floor.mean(before, after)
            ratios.append(loaded.rate * cost.total)
            parts.add_load(loaded)
            parts.add(**{f"floor_{step}_ms": 1000 * seconds for step, seconds in asdict(cost).items()})
            experiment.console.print(
                f"{NAME} {name}: {loaded.rate:.2f} photos/s of {1 / cost.total:.2f} at the floor: {ratios[-1]:.3f}"
            )
    return ratios, parts, host
