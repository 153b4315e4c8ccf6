"""`make evaluate`: what `semblance evaluate` says of the demo's models, on a catalogue and scenes never trained on.

Draws them, starts Triton, Milvus and the orchestrator, indexes the catalogue, evaluates, and stops everything. What it
found is in `training/out`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from demo import generate, labelling
from demo.evaluate import PATIENCE
from demo.interruption import interruptible
from demo.stack import publish, semblance, started
from semblance.client import Client
from semblance.training.dataset.dataset import Dataset
from semblance.training.evaluate.command import show
from semblance.training.evaluate.evaluation import Plan, evaluated
from semblance.training.evaluate.record import FILE
from semblance.training.evaluate.report import PAGE, write

OUT = Path(__file__).resolve().parents[1] / "training" / "out"

SEED = 301
"""Of the catalogue and the scenes; the models were trained on others."""

# As many as leave a few minutes' work for two cores.
ITEMS, SCENES, CORRUPTED = 120, 50, 10

console = Console()


def measure(folder: Path) -> None:
    """Everything but what is found lies in `folder`."""
    world, repository = folder / "world", folder / "model_repository"
    size = ["--items", str(ITEMS), "--scenes", str(SCENES), "--seed", str(SEED)]
    generate.main(["--out", str(world), *size], standalone_mode=False)
    labelling.annotate(world)
    labelling.imported(world, folder / "dataset", "0,0,100")
    publish(repository)
    dataset = Dataset.read(folder / "dataset")
    with started(repository, folder / "stack", console) as stack:
        semblance("index", world / "manifest.csv", "--target", stack.target)
        plan = Plan(
            dataset,
            "test",
            dataset.split("test"),
            release=None,
            against=None,
            milvus=(stack.milvus, ""),
            queries=None,
            robustness_images=CORRUPTED,
            seed=0,
        )
        with Client(stack.target, timeout=PATIENCE) as client:
            evaluation = evaluated(client, plan, console)
            write(evaluation, "make evaluate", client, OUT)
    show(evaluation)
    console.print(f"{OUT / PAGE} is for reading, {OUT / FILE} has the figures")


def main() -> None:
    for name in (PAGE, FILE):
        (OUT / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


if __name__ == "__main__":
    with interruptible():
        main()
