"""`make loop`: the whole learning loop on this host, from annotated photos to a released embedder that is better.

Two hundred annotated scenes become a dataset, on which the demo's detector is fine-tuned; a simulated user tells what
is wrong with the answers to other scenes, and the embedder is fine-tuned on that. Both releases are measured on scenes
that none of it has seen, and the second is activated only if it is better by more than its interval.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from demo import catalogue, labelling, scenes
from demo.evaluate import PATIENCE, search
from demo.generate import PIXELS
from demo.interruption import interruptible
from demo.items import collect
from demo.phases import Phases
from demo.scenes import read_truth
from demo.shopper import complain
from demo.stack import WEIGHTS, publish, semblance, started
from semblance.client import Client, SearchRequest
from semblance.training.evaluate.evaluation import DIFFERENCE
from semblance.training.evaluate.record import FILE, Record
from semblance.training.evaluate.report import PAGE

OUT = Path(__file__).resolve().parent.parent / "training" / "out"

SEED = 303
"""Of the catalogue: none of its items was among those that the demo's models were trained on."""

ITEMS = 240

console = Console()


@dataclass(frozen=True, slots=True)
class Scenes:
    """Scenes of one use. Their seeds differ, so that no scene is in two of them."""

    name: str
    count: int
    seed: int


ANNOTATED = Scenes("annotated", 200, 1)
"""What the team has drawn boxes in; both models are trained on them."""

ASKED = Scenes("asked", 100, 2)
"""What the simulated user searches with."""

UNSEEN = Scenes("unseen", 150, 3)
"""What both releases are measured on, and nothing else is done with."""

FIGURES = "loop.json"

SECONDS = 900
"""That the loop may take on two cores which nobody else uses."""

DETECTOR_EPOCHS = "2"
"""The demo's detector knows such scenes already; more would take minutes and gain nothing here."""

GAIN = f"recall@1{DIFFERENCE}"

BETTER = f"evaluation.{GAIN}_low>0"
"""What the second release must reach to be activated."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where everything of a run lies."""

    root: Path

    @property
    def world(self) -> Path:
        return self.root / "world"

    @property
    def repository(self) -> Path:
        return self.root / "model_repository"

    def scenes(self, which: Scenes) -> Path:
        return self.world / which.name

    def dataset(self, which: Scenes) -> Path:
        return self.root / "datasets" / which.name

    def run(self, model: str) -> Path:
        return self.root / "runs" / model

    def evaluation(self, release: str) -> Path:
        return self.root / "evaluations" / release


def draw(folders: Folders) -> None:
    """The catalogue, and the scenes of every use with their annotations."""
    chosen = list(collect(ITEMS, SEED))
    with click.progressbar(chosen, label="drawing items") as bar:
        sprites = [item.draw(PIXELS) for item in bar]
    catalogue.write(folders.world, chosen, sprites, SEED)
    for which in (ANNOTATED, ASKED, UNSEEN):
        folder = folders.scenes(which)
        scenes.write(folder, chosen, sprites, which.count, SEED + which.seed)
        labelling.annotate(folder)
        console.print(f"{which.count} scenes in {folder}")


@dataclass(frozen=True, slots=True)
class Team:
    """What a team does with a running service, command by command."""

    folders: Folders
    target: str

    def release(self, name: str, model: str, *options: str) -> None:
        """Publishes what the training of a model has exported as version 2, and builds a release of it."""
        semblance("publish", self.folders.run(model) / "export", "--repository", self.folders.repository)
        semblance("release", "create", name, f"--{model}", "2", *options, "--target", self.target)

    def activate(self, name: str, *options: str) -> None:
        semblance("release", "activate", name, *options, "--target", self.target)

    def evaluate(self, release: str, *options: str | Path) -> Record:
        """What `semblance evaluate` measures of a release on the unseen scenes."""
        folder = self.folders.evaluation(release)
        semblance(
            *("evaluate", self.folders.dataset(UNSEEN), "--release", release, "--output", folder),
            *("--robustness-images", "0", *options, "--target", self.target),
        )
        return Record.read(folder / FILE)

    def complain(self) -> int:
        """Searches with the asked scenes and gives a verdict on every failure; returns how many."""
        asked = read_truth(self.folders.scenes(ASKED))
        with Client(self.target, timeout=PATIENCE) as client:
            return complain(client, asked, search(client, [SearchRequest(scene.path, top_k=5) for scene in asked]))

    def learn(self) -> None:
        """Exports the feedback, and trains the embedder on it and on the annotated scenes."""
        feedback = self.folders.root / "feedback"
        semblance("feedback", "export", feedback, "--target", self.target)
        semblance(
            *("train", "embedder", "--weights", WEIGHTS / "embedder"),
            *("--catalogue", self.folders.world / "manifest.csv"),
            *("--detector", self.folders.run("detector") / "export", "--dataset", self.folders.dataset(ANNOTATED)),
            *("--pairs", feedback, "--output", self.folders.run("embedder")),
        )


def report(before: Record, after: Record, verdicts: int, phases: Phases, seconds: float, page: Path) -> None:
    """Prints what the loop has gained, and writes it to `training/out/loop.json`, before anything hangs on it."""
    low, high = after.spread[GAIN]
    value = {
        "recall_before": before.value["recall@1"],
        "recall_after": after.value["recall@1"],
        "difference": after.value[GAIN],
        "interval_low": low,
        "map50": after.value["map50"],
        "seconds": round(seconds, 1),
    }
    figure = {
        "name": "loop",
        "value": value,
        "target": {"interval_low": 0.0, "seconds": SECONDS},
        "samples": {
            "before": [photo.model_dump(mode="json") for photo in before.samples],
            "after": [photo.model_dump(mode="json") for photo in after.samples],
            "verdicts": verdicts,
            "phases": phases.seconds,
        },
        "spread": {
            "recall_before": before.spread["recall@1"],
            "recall_after": after.spread["recall@1"],
            "difference": (low, high),
            "map50": after.spread["map50"],
        },
        "command": "make loop",
        "environment": after.environment,
    }
    (OUT / FIGURES).write_text(json.dumps(figure, indent=1) + "\n")
    table = Table("phase", "seconds", title="where the time went")
    for name, spent in phases.seconds.items():
        table.add_row(name, f"{spent:.0f}")
    console.print(table)
    console.print(
        f"recall@1 on {UNSEEN.count} unseen scenes: {value['recall_before']:.3f} with the demo's embedder, "
        f"{value['recall_after']:.3f} with the fine-tuned one: {value['difference']:+.3f} "
        f"(95 % interval {low:+.3f} to {high:+.3f}), after {verdicts} verdicts, in {seconds / 60:.1f} minutes."
    )
    console.print(f"{OUT / FIGURES} has the figures; {page} is for reading.")


def main() -> None:
    begin = time.monotonic()
    folders, phases = Folders(OUT / "loop"), Phases(console)
    shutil.rmtree(folders.root, ignore_errors=True)
    (OUT / FIGURES).unlink(missing_ok=True)
    with phases.phase("draw a catalogue, and scenes with annotations"):
        draw(folders)
    with phases.phase("import the annotations"):
        for which, split in ((ANNOTATED, "85,15,0"), (UNSEEN, "0,0,100")):
            labelling.imported(folders.scenes(which), folders.dataset(which), split)
    with phases.phase("fine-tune the detector"):
        semblance(
            *("train", "detector", folders.dataset(ANNOTATED), "--weights", WEIGHTS / "detector"),
            *("--epochs", DETECTOR_EPOCHS, "--output", folders.run("detector")),
        )
    with ExitStack() as running:
        with phases.phase("start the service with the demo's models, and index the catalogue"):
            publish(folders.repository)
            stack = running.enter_context(started(folders.repository, folders.root / "stack", console))
            semblance("index", folders.world / "manifest.csv", "--target", stack.target)
        team = Team(folders, stack.target)
        with phases.phase("release the detector"):
            team.release("r2", "detector", "--keep-index")
            team.activate("r2")
        with phases.phase("evaluate it on unseen scenes"):
            before = team.evaluate("r2")
        with phases.phase("collect what users say of failures"):
            verdicts = team.complain()
            semblance("feedback", "report", "--target", stack.target)
        with phases.phase("fine-tune the embedder on annotations and feedback"):
            team.learn()
        with phases.phase("release the embedder"):
            team.release("r3", "embedder")
        with phases.phase("compare the two on unseen scenes"):
            after = team.evaluate("r3", "--compare", folders.evaluation("r2") / FILE, "--record")
        report(before, after, verdicts, phases, time.monotonic() - begin, folders.evaluation("r3") / PAGE)
        team.activate("r3", "--require", BETTER)


if __name__ == "__main__":
    with interruptible():
        main()
