"""`semblance evaluate`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from semblance.client.commands.connection import Connect, connection_options
from semblance.training.dataset.dataset import SPLITS, AnnotatedImage, Dataset, DatasetError, Split
from semblance.training.evaluate.errors import EvaluationError

if TYPE_CHECKING:
    from semblance.training.evaluate.evaluation import Evaluation

MILVUS_TOKEN = "SEMBLANCE_MILVUS_TOKEN"

TONES = {"good": ("Good", "green"), "act": ("Act", "yellow"), "note": ("Note", "dim")}

console = Console()


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path, file_okay=False))
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Which photos.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("evaluation"),
    show_default=True,
    help="Folder for evaluation.json and report.html.",
)
@click.option("--release", metavar="ID", help="Evaluate this release, not the one that serves; takes the role admin.")
@click.option("--against", metavar="ID", help="Compare with this release, on the same photos; takes the role admin.")
@click.option(
    "--compare",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Compare with an earlier evaluation.json of the same photos.",
)
@click.option(
    "--record",
    is_flag=True,
    help="Keep the figures with the release, for `semblance release activate --require`; takes the role admin.",
)
@click.option(
    "--milvus",
    envvar="SEMBLANCE_MILVUS_URI",
    metavar="URI",
    show_envvar=True,
    help=f"Compare the release's index with exact search there; a token is taken from {MILVUS_TOKEN}.",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Search with callers' verdicts, too: a folder of `semblance feedback export`.",
)
@click.option(
    "--robustness-images",
    type=click.IntRange(min=0),
    default=12,
    show_default=True,
    help="So many photos are searched in 50 corrupted forms each; 0 for none, or 2 or more.",
)
@click.option("--seed", default=0, show_default=True, help="Of what is drawn at random.")
@connection_options
def evaluate(
    dataset: Path,
    split: Split,
    output: Path,
    release: str | None,
    against: str | None,
    compare: Path | None,
    record: bool,
    milvus: str | None,
    queries: Path | None,
    robustness_images: int,
    seed: int,
    connect: Connect,
) -> None:
    """Measure detection and retrieval on annotated photos, with the running service.

    The objects of DATASET, a folder that `semblance dataset import` wrote, need item ids, and the service's catalogue
    their items. Writes evaluation.json and report.html.
    """
    # Seconds of imports that `--help` does without.
    from semblance.training.evaluate import verdicts
    from semblance.training.evaluate.evaluation import Plan, evaluated
    from semblance.training.evaluate.publication import record as publish
    from semblance.training.evaluate.record import FILE, Record
    from semblance.training.evaluate.report import PAGE, write

    if robustness_images == 1:
        raise click.UsageError("--robustness-images is 0, or 2 or more: one photo has no interval")
    if against and compare:
        raise click.UsageError("--against excludes --compare: give one of the two")
    command = shlex.join(["semblance", *sys.argv[1:]])
    try:
        annotated = Dataset.read(dataset)
        images = checked(annotated, split)
        before = Record.read(compare) if compare else against
        address = (milvus, os.environ.get(MILVUS_TOKEN, "")) if milvus else None
        told = verdicts.read(queries) if queries else None
        if told and len(told.images) < 2:
            raise EvaluationError(f"{queries} has verdicts of one photo, and an interval needs two at least")
        few = min(robustness_images, len(images))
        plan = Plan(annotated, split, images, release, before, address, told, few, seed)
        with connect() as client:
            with _interruptible(output):
                evaluation = evaluated(client, plan, console)
                write(evaluation, command, client, output)
            if record:
                publish(client, evaluation)
    except (DatasetError, EvaluationError) as error:
        raise click.ClickException(str(error)) from error
    show(evaluation)
    console.print(f"{output / PAGE} is for reading, {output / FILE} has the figures")


@contextmanager
def _interruptible(output: Path) -> Iterator[None]:
    """Says after Ctrl-C what became of the files."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"stopped; {output} is as it was before")
        raise


def checked(dataset: Dataset, split: Split) -> tuple[AnnotatedImage, ...]:
    """The photos to evaluate on.

    Raises:
        EvaluationError: The split can't be evaluated on.
    """
    images = dataset.split(split)
    if len(images) < 2:
        sizes = ", ".join(f"{name} {len(dataset.split(name))}" for name in SPLITS)
        raise EvaluationError(
            f"split {split} of {dataset.folder} has {len(images)} photos, and an interval needs two at least "
            f"(photos by split: {sizes}); choose another with --split, or import the dataset with a larger share"
        )
    if missing := [image.file for image in images if not dataset.path(image).is_file()]:
        raise EvaluationError(
            f"{len(missing)} photos of {dataset.folder} are missing, {missing[0]} among them; import the dataset anew"
        )
    objects = [each for image in images for each in image.objects]
    if not any(each.item_id for each in objects):
        raise EvaluationError(
            f"none of the {len(objects)} objects of split {split} has an item id, so nobody can tell which hit is "
            "right: name the items in the annotations, as docs/training.md says, and import them anew"
        )
    return images


def show(evaluation: Evaluation) -> None:
    """Prints what an evaluation says, in words."""
    from semblance.training.evaluate.summary import summary

    for sentence in summary(evaluation):
        console.print(Text.assemble((f"{TONES[sentence.tone][0]:5}", TONES[sentence.tone][1]), sentence.text))
