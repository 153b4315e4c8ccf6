"""`latency`: the median time of a lone request over the sum of its bare stages."""

from __future__ import annotations

import statistics
from contextlib import closing

from semblance.benchmarks import bare, load, sessions
from semblance.benchmarks.experiment import Experiment, Parts, interleaved, others_note
from semblance.benchmarks.figure import ONLY, Figure, Measure
from semblance.benchmarks.host import Host
from semblance.benchmarks.stack import Stack
from semblance.client import Client
from semblance.export import manifest
from semblance.export.contract import DETECTOR, EMBEDDER

NAME = "latency"
TARGET = 1.15
MODELS = "fp32"
# Of the stages that take about a millisecond.
REPEATS = 30

Stages = dict[str, float]


def measure(experiment: Experiment, command: str) -> Figure:
    """Of one photo: the one with the median number of objects. Its bare stages are what the chain computes for it."""
    settings = experiment.suite.figures
    ratios: list[float] = []
    parts = Parts()
    with experiment.started(MODELS) as service, sessions.started(experiment.folder) as models:
        photo = _typical(experiment.world.photos, service)
        inputs = bare.Inputs.of([photo], service.target)
        models.open(DETECTOR.model, service.repository, inputs.letterboxed, experiment.folder)
        models.open(EMBEDDER.model, service.repository, inputs.crops, experiment.folder)
        host = Host.here(service.versions).noting(f"the photo shows {len(inputs.crops)} objects")
        dimension = manifest.read(service.repository / EMBEDDER.model / "1").output.dims[0]
        with closing(bare.BareSearch(service.milvus, len(inputs.crops), dimension)) as search:

            def stages() -> Stages:
                return _stages(photo, service, models, search, settings.seconds)

            def chain() -> load.Load:
                return load.search(service, [photo], in_flight=1, seconds=2 * settings.seconds)

            for before, loaded, after in interleaved(settings.rounds, stages, chain):
                mean = {stage: (before[stage] + after[stage]) / 2 for stage in before}
                p50 = statistics.median(loaded.latencies)
                ratios.append(p50 / sum(mean.values()))
                parts.add(p50_ms=1000 * p50, others_share=loaded.spent.shares["others_share"])
                parts.add(**{f"{stage}_ms": 1000 * seconds for stage, seconds in mean.items()})
                experiment.console.print(
                    f"{NAME}: {1000 * p50:.1f} ms over {1000 * sum(mean.values()):.1f} ms: {ratios[-1]:.3f}"
                )
    return Figure(
        NAME,
        {ONLY: Measure(tuple(ratios), TARGET, "lower")},
        command,
        host.noting(others_note(parts.numbers["others_share"])),
        parts.frozen(),
    )


def _typical(photos: tuple[bytes, ...], service: Stack) -> bytes:
    with Client(service.target) as client:
        counts = {photo: len(client.search(photo).objects) for photo in photos}
    return sorted(photos, key=lambda photo: counts[photo])[len(photos) // 2]


def _stages(photo: bytes, service: Stack, models: sessions.Sessions, search: bare.BareSearch, seconds: float) -> Stages:
    """Median seconds of each, run by itself."""
    picture = bare.decode(photo)
    with Client(service.target) as client:
        boxes = [found.box for found in client.search(photo).objects]
    return {
        "decode": bare.median_seconds(lambda: bare.decode(photo), REPEATS),
        "letterbox": bare.median_seconds(lambda: bare.letterbox(picture), REPEATS),
        "detect": statistics.median(models.run(DETECTOR.model, 1, seconds / 2)),
        "crop": bare.median_seconds(lambda: bare.crops(picture, boxes), REPEATS),
        "embed": statistics.median(models.run(EMBEDDER.model, len(boxes), seconds / 2)),
        "search": bare.median_seconds(search, REPEATS),
    }
