"""`make demo`: the whole product on this host, from an empty folder to a measured answer.

Draws the catalogue and the scenes, publishes the models, starts Triton, Milvus and the orchestrator, indexes the
catalogue, searches the scenes, measures the answers against the truth, and stops everything.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo import generate
from demo.evaluate import PATIENCE, search
from demo.interruption import interruptible
from demo.phases import Phases
from demo.scenes import Truth, read_truth
from demo.scoring import Score
from demo.stack import publish, semblance, started
from semblance.client import Client, SearchRequest, SearchResult
from semblance.client.drawing import draw_result

OUT = Path(__file__).resolve().parent / "out"
REPOSITORY = OUT / "model_repository"

# What the demo promises; see MODEL_CARD.md for how the models were trained and measured.
RECALL_AT_1, RECALL_AT_5 = 0.90, 0.97

console = Console()


def measure(scenes: list[Truth], results: list[SearchResult]) -> Score:
    score = Score()
    for scene, result in zip(scenes, results, strict=True):
        score.add(result.objects, scene.objects)
    return score


def showcase(scenes: list[Truth], results: list[SearchResult]) -> tuple[Truth, SearchResult]:
    """The scene to show: one with many objects, each found once, of which the detector was sure."""

    def worth(pair: tuple[Truth, SearchResult]) -> tuple[bool, int, float]:
        wanted, found = pair[0].objects, pair[1].objects
        return len(wanted) == len(found), len(wanted), sum(each.score or 0 for each in found)

    return max(zip(scenes, results, strict=True), key=worth)


def report(score: Score, figures: dict[str, object]) -> None:
    """Prints the figures and writes them to `demo/out/result.json`."""
    (OUT / "result.json").write_text(json.dumps(figures, indent=2) + "\n")
    table = Table(title=f"{figures['queries']} unseen scenes, {score.objects} objects, {figures['items']} items")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("at least", justify="right")
    table.add_row("recall@1, end to end", f"{score.recall_at_1:.3f}", f"{RECALL_AT_1:.2f}")
    table.add_row("recall@5, end to end", f"{score.recall_at_5:.3f}", f"{RECALL_AT_5:.2f}")
    table.add_row("detection recall", f"{score.detection_recall:.3f}", "")
    console.print(table)
    console.print(f"{OUT / 'result.png'} shows one of the answers, {OUT / 'result.json'} has the figures.")


def main() -> None:
    phases = Phases(console)
    shutil.rmtree(OUT, ignore_errors=True)
    world = OUT / "world"
    with phases.phase("draw"):
        generate.main(["--out", str(world)], standalone_mode=False)
    with phases.phase("publish"):
        publish(REPOSITORY)
    scenes = read_truth(world)
    with ExitStack() as running:
        with phases.phase("up"):
            stack = running.enter_context(started(REPOSITORY, OUT / "stack", console))
        with phases.phase("index"):
            semblance("index", world / "manifest.csv", "--target", stack.target)
        with phases.phase("search"), Client(stack.target, timeout=PATIENCE) as client:
            items = client.count().items
            results = search(client, [SearchRequest(scene.path, top_k=5) for scene in scenes])
            scene, result = showcase(scenes, results)
            draw_result(scene.path.read_bytes(), result, client, top_k=4).save(OUT / "result.png")
        with phases.phase("down"):
            running.close()
    score = measure(scenes, results)
    report(
        score,
        {
            "items": items,
            "queries": len(scenes),
            "recall_at_1": round(score.recall_at_1, 4),
            "recall_at_5": round(score.recall_at_5, 4),
            "detection_recall": round(score.detection_recall, 4),
            "triton_version": stack.triton_version,
            "milvus_version": stack.milvus_version,
            "seconds": phases.seconds,
        },
    )
    if score.recall_at_1 < RECALL_AT_1 or score.recall_at_5 < RECALL_AT_5:
        sys.exit("demo: the recall is below what the models gave when they were published; see demo/MODEL_CARD.md")


if __name__ == "__main__":
    with interruptible():
        main()
