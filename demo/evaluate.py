"""Measures the demo's models through the whole chain, on catalogues and scenes never trained on.

    python -m demo.evaluate --seed 101 --seed 102

The figures of the model card. `make demo` measures seed 7 in the same way.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from demo import generate
from demo.items import KINDS
from demo.scenes import Truth, read_truth
from demo.scoring import Score, average_precision, matched
from demo.stack import publish, semblance, started
from semblance.client import Box, Client, SearchRequest, SearchResult, SemblanceError, Source

SERVED_SCORE = 0.25
"""Detections below it are left out unless a caller asks for them."""

LOWEST_SCORE = 0.05
"""What the exported detector gives at the least; average precision looks at all of it."""

IN_FLIGHT = 4
"""Enough to keep two cores busy, and few enough for a slow host to answer each in time."""

PATIENCE = 60.0
"""Seconds that one answer may take: a host that is busy with something else is slow, and not wrong."""

console = Console()


def search(client: Client, requests: Sequence[SearchRequest]) -> list[SearchResult]:
    """The answers, in the order of the requests; the first that fails is raised."""
    results: dict[SearchRequest, SearchResult] = {}
    answers = client.search_many(requests, in_flight=IN_FLIGHT)
    for request, result in track(answers, "searching", len(requests), console=console):
        if isinstance(result, SemblanceError):
            raise result
        results[request] = result
    return [results[request] for request in requests]


def measure(client: Client, scenes: Sequence[Truth]) -> dict[str, float]:
    """Figures of detection, and of retrieval with detected and with true boxes."""
    detected = search(
        client, [SearchRequest(scene.path, top_k=5, min_detection_score=LOWEST_SCORE) for scene in scenes]
    )
    given = search(
        client, [SearchRequest(scene.path, top_k=5, boxes=[Box(*o.box) for o in scene.objects]) for scene in scenes]
    )
    chain, true_boxes = Score(), Score()
    every: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for scene, result, truth in zip(scenes, detected, given, strict=True):
        found = [o for o in result.objects if o.source is Source.DETECTED]
        chain.add([o for o in found if (o.score or 0) >= SERVED_SCORE], scene.objects)
        named = [replace(o, class_name=t.kind) for o, t in zip(truth.objects, scene.objects, strict=True)]
        true_boxes.add(named, scene.objects)
        pairs = matched(found, scene.objects)
        for number, box in enumerate(found):
            every[box.class_name or ""].append((box.score or 0, number in pairs))
    kinds = [o.kind for scene in scenes for o in scene.objects]
    return {
        "objects": chain.objects,
        "detection recall": chain.detection_recall,
        "detection precision": chain.detection_precision,
        "mAP50": float(np.mean([average_precision(every[kind], kinds.count(kind)) for kind in KINDS])),
        "recall@1, true boxes": true_boxes.recall_at_1,
        "recall@5, true boxes": true_boxes.recall_at_5,
        "recall@1, end to end": chain.recall_at_1,
        "recall@5, end to end": chain.recall_at_5,
    }


def measure_seed(seed: int, items: int, scene_count: int, folder: Path) -> dict[str, float]:
    world = folder / "world"
    size = ["--items", str(items), "--scenes", str(scene_count), "--seed", str(seed)]
    generate.main(["--out", str(world), *size], standalone_mode=False)
    publish(folder / "model_repository")
    with started(folder / "model_repository", folder / "stack", console) as stack:
        semblance("index", world / "manifest.csv", "--target", stack.target)
        with Client(stack.target, timeout=PATIENCE) as client:
            return measure(client, read_truth(world))


@click.command()
@click.option("--seed", "seeds", multiple=True, default=(101,), show_default=True, help="Seed of a catalogue.")
@click.option("--items", default=240, show_default=True, help="Items in each catalogue.")
@click.option("--scenes", "scene_count", default=60, show_default=True, help="Scenes of each catalogue.")
def main(seeds: tuple[int, ...], items: int, scene_count: int) -> None:
    """Print detection and search figures for each seed's catalogue and scenes."""
    columns = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            columns[seed] = measure_seed(seed, items, scene_count, Path(folder))
    table = Table("figure", *(f"seed {seed}" for seed in seeds))
    for name in next(iter(columns.values())):
        table.add_row(name, *(f"{figures[name]:.4g}" for figures in columns.values()))
    console.print(table)


if __name__ == "__main__":
    main()
