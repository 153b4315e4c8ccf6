"""`overhead`: the orchestrator's CPU time for a request, with models that cost nothing, over a bare decode."""

from __future__ import annotations

from semblance.benchmarks import bare, load
from semblance.benchmarks.experiment import Experiment, Parts, client_note, interleaved, others_note
from semblance.benchmarks.figure import ONLY, Figure, Measure
from semblance.benchmarks.host import Host
from semblance.benchmarks.stack import NULL

NAME = "overhead"
TARGET = 2.0


def measure(experiment: Experiment, command: str) -> Figure:
    """The decode is of the very photos that are searched with, in one thread of this process."""
    settings, photos = experiment.suite.figures, experiment.world.photos
    ratios: list[float] = []
    parts = Parts()
    with experiment.started(NULL) as service:
        host = Host.here(service.versions)

        def chain() -> load.Load:
            return load.search(service, photos, in_flight=settings.in_flight, seconds=settings.seconds)

        for before, loaded, after in interleaved(
            settings.rounds, lambda: bare.decode_cpu(photos, settings.seconds / 5), chain
        ):
            decode = (before + after) / 2
            request = loaded.cpu_each["orchestrator"]
            ratios.append(request / decode)
            parts.add_load(loaded)
            parts.add(decode_cpu_ms=1000 * decode)
            experiment.console.print(f"{NAME}: {1000 * request:.2f} ms over {1000 * decode:.2f} ms: {ratios[-1]:.2f}")
    sizes = [len(photo) // 1000 for photo in photos]
    notes = (
        client_note(parts.numbers["client_share"]),
        others_note(parts.numbers["others_share"]),
        f"{len(photos)} photos of {min(sizes)} to {max(sizes)} kB",
    )
    return Figure(NAME, {ONLY: Measure(tuple(ratios), TARGET, "lower")}, command, host.noting(*notes), parts.frozen())
