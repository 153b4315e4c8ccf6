"""`ingest`: photos a second of a bulk put over the floor."""

from __future__ import annotations

from semblance.benchmarks import floor, load
from semblance.benchmarks.experiment import Experiment, Parts, client_note, interleaved, others_note
from semblance.benchmarks.figure import ONLY, Figure, Measure
from semblance.benchmarks.host import Host

NAME = "ingest"
TARGET = 0.85
MODELS = "fp32"


def measure(experiment: Experiment, command: str) -> Figure:
    """Every put photo is new to the catalogue; the floor is of the same photos."""
    settings, photos = experiment.suite.figures, experiment.world.photos
    ratios: list[float] = []
    parts = Parts()
    with (
        experiment.started(MODELS) as service,
        floor.opened(photos, service, experiment.folder) as bottom,
    ):
        host = Host.here(service.versions)

        def bulk() -> load.Load:
            return load.put(
                service,
                photos,
                in_flight=settings.in_flight,
                seconds=2 * settings.seconds,
                turn=len(ratios),
            )

        for before, loaded, after in interleaved(settings.rounds, lambda: bottom.measure(settings.seconds), bulk):
            cost = floor.mean(before, after).total
            ratios.append(loaded.rate * cost)
            parts.add_load(loaded)
            parts.add(floor_photos_per_second=1 / cost)
            experiment.console.print(
                f"{NAME}: {loaded.rate:.2f} photos/s of {1 / cost:.2f} at the floor: {ratios[-1]:.3f}"
            )
    return Figure(
        NAME,
        {ONLY: Measure(tuple(ratios), TARGET, "higher")},
        command,
        host.noting(client_note(parts.numbers["client_share"]), others_note(parts.numbers["others_share"])),
        parts.frozen(),
    )
