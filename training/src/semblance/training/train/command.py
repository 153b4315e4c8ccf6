"""`semblance train detector|embedder`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from semblance.client.commands.connection import Connect, connection_options
from semblance.export.delivery import refusals, show, shown_progress
from semblance.export.repository import Published
from semblance.training.atomic import write
from semblance.training.dataset.dataset import Dataset, DatasetError
from semblance.training.train.card import Finish, written
from semblance.training.train.errors import TrainingError
from semblance.training.train.run import CARD, CONTENTS, CURVES, EXPORT, Run, Step

if TYPE_CHECKING:
    from semblance.export.package import Package
    from semblance.export.session import Progress as Report

console = Console(stderr=True)

output_option = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="RUN",
    help="Folder of the run: settings, progress, curves, model card, checkpoints, export.",
)
resume_option = click.option(
    "--resume", is_flag=True, help="Go on with the run in --output that the same command began."
)
seed_option = click.option("--seed", default=0, show_default=True, help="Of everything random.")
folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def train() -> None:
    """Fine-tune the detector and the embedder on your own photos."""


@train.command()
@click.argument("dataset", type=folder)
@output_option
@click.option(
    "--weights",
    default="yolov8n.pt",
    show_default=True,
    help="What to begin with: an official name, a .pt checkpoint, or the folder of an exported or published detector.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True, help="Times to see every photo.")
@click.option(
    "--image-size",
    type=click.IntRange(min=64),
    default=640,
    show_default=True,
    help="Pixels along the photos of training; the detector is served with 640.",
)
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Photos in a step.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="The highest learning rate.  [default: 0.00002 where the weights know every class, else 0.001]",
)
@click.option(
    "--patience", type=click.IntRange(min=1), default=10, show_default=True, help="Epochs without a better one."
)
@click.option(
    "--tune",
    type=click.IntRange(min=1),
    metavar="N",
    help="First try N sets of learning rate, batch and augmentation, and train with the best.",
)
@seed_option
@resume_option
def detector(
    dataset: Path,
    output: Path,
    weights: str,
    epochs: int,
    image_size: int,
    batch: int,
    rate: float | None,
    patience: int,
    tune: int | None,
    seed: int,
    resume: bool,
) -> None:
    """Fine-tune a YOLO detector on DATASET, which `semblance dataset import` wrote."""
    settings: dict[str, Any] = {
        "model": "detector",
        "dataset": str(dataset.resolve()),
        "weights": weights,
        "epochs": epochs,
        "image_size": image_size,
        "batch": batch,
        "rate": rate,
        "patience": patience,
        "tune": tune,
        "seed": seed,
    }
    with _refusals(), _interruptible():
        from semblance.training.train import contents, curves
        from semblance.training.train import detector as training

        data = Dataset.read(dataset)
        settings[CONTENTS] = {"dataset": contents.digest(dataset), "weights": contents.digest(Path(weights))}
        run = Run.open(output, settings, resume=resume)
        recipe = training.Recipe(epochs, image_size, patience, seed)
        with shown_progress() as progress:
            suited = training.prepare(weights, data, run, seed, progress)
        tuned = training.Tuned(rate or suited, batch)
        if tune is not None:
            from semblance.training.train import tuning

            with _steps() as report:
                tuned = tuning.best(run, data, recipe, tuned, tune, say, report)
        with _steps() as report:
            records = training.train(run, data, recipe, tuned, partial(report, ""), _told("mAP50", "mAP50-95", "loss"))
        best = training.best(records)
        curves.draw(run.folder / CURVES, records, {"loss": ["loss"], "validation": ["mAP50", "mAP50-95"]}, best)
        described = {
            "photos": f"{len(data.split('train'))} to learn from, {len(data.split('val'))} to validate on",
            "classes": ", ".join(data.classes),
        }
        write(run.folder / CARD, written("detector", settings | asdict(tuned), described, records, best))
        _deliver(run, "detector", lambda progress: training.package(run, data, records, progress))


@train.command()
@click.option(
    "--catalogue",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    metavar="MANIFEST",
    help="The items and their reference images, as `semblance index` takes them: a CSV or JSON Lines manifest.",
)
@click.option("--dataset", type=folder, help="Annotated photos whose objects have an item_id: train and val are used.")
@click.option(
    "--pairs", type=folder, metavar="EXPORT", help="What `semblance feedback export` wrote: right items and wrong ones."
)
@output_option
@click.option(
    "--weights",
    metavar="WEIGHTS",
    help="What to begin with: a state dict of torchvision's resnet50, such as a run's best.pt, or the folder of an "
    "exported or published embedder.  [default: the official ImageNet weights]",
)
@click.option(
    "--detector",
    type=folder,
    help="An exported or published detector that cuts the items out of their reference images, as the service does. "
    "Without one, the whole images are taken.",
)
@click.option(
    "--mine",
    is_flag=True,
    help="Search the running service with the crops: wrong items that it finds are learnt to be told apart.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Times to see every crop; with 0 the network stays what it is, and only the head behind it is fitted.",
)
@click.option(
    "--batch", type=click.IntRange(min=2), default=20, show_default=True, help="Items in a step, 2 crops each."
)
@click.option(
    "--side",
    type=click.IntRange(32, 224),
    default=224,
    show_default=True,
    help="Pixels along the crops of training. Smaller is cheaper, but the embedder is served with 224.",
)
@click.option(
    "--layers",
    type=click.IntRange(1, 5),
    default=1,
    show_default=True,
    help="How many of the network's five stages learn, the last first.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-4,
    show_default=True,
    help="The highest learning rate.",
)
@click.option(
    "--patience", type=click.IntRange(min=1), default=4, show_default=True, help="Epochs without a better one."
)
@seed_option
@resume_option
@connection_options
def embedder(
    connect: Connect,
    catalogue: Path,
    dataset: Path | None,
    pairs: Path | None,
    output: Path,
    weights: str | None,
    detector: Path | None,
    mine: bool,
    epochs: int,
    batch: int,
    side: int,
    layers: int,
    rate: float,
    patience: int,
    seed: int,
    resume: bool,
) -> None:
    """Fine-tune the embedder to tell the items of a catalogue apart.

    It learns from the catalogue's reference images, from annotated photos of --dataset, and from --pairs.
    """
    if not epochs:
        _refuse_idle()
    settings: dict[str, Any] = {
        "model": "embedder",
        "catalogue": str(catalogue.resolve()),
        "dataset": dataset and str(dataset.resolve()),
        "pairs": pairs and str(pairs.resolve()),
        "weights": weights,
        "detector": detector and str(detector.resolve()),
        "mine": mine,
        "epochs": epochs,
        "batch": batch,
        "side": side,
        "layers": layers,
        "rate": rate,
        "patience": patience,
        "seed": seed,
    }
    with _refusals(), _interruptible():
        from semblance.training.train import contents, curves
        from semblance.training.train import embedder as training
        from semblance.training.train import material as materials
        from semblance.training.train.confusion import known
        from semblance.training.train.localiser import Localiser

        sources = materials.collect(catalogue, Dataset.read(dataset) if dataset else None, pairs)
        given = {"dataset": dataset, "pairs": pairs, "weights": weights and Path(weights), "detector": detector}
        settings[CONTENTS] = {"catalogue": contents.of_references(sources.references)} | {
            name: contents.digest(path) for name, path in given.items() if path
        }
        run = Run.open(output, settings, resume=resume)
        with shown_progress() as progress:
            material = materials.cut(sources, Localiser(detector) if detector else None, seed, progress)
            trunk = training.start(weights, material, progress)
            rivals = known(run, sources, material, connect if mine else None, progress)
        recipe = training.Recipe(epochs, rate, batch, side, layers, patience, seed)
        with _steps() as report:
            course = training.Training(run, trunk, material, rivals, recipe, partial(report, ""))
            records = course.train(_told("recall@1", "loss"))
        best = training.best(records)
        with shown_progress() as progress:
            head, fitted = training.headed(run, material, seed, progress)
        _told("recall@1")(fitted)
        finish = Finish("head", fitted, kept=head is not None)
        curves.draw(run.folder / CURVES, records, {"loss": ["loss"], "validation": ["recall@1"]}, best, finish)
        described = {
            "items": len(material.items),
            "crops": f"{len(material.gallery.item_ids)} of reference images, {len(sources.annotated)} of annotated "
            f"photos, {len(sources.pairs)} of feedback ({sources.held_out} more are of photos that validate or test)",
            "validated with": f"{len(material.queries.item_ids)} crops, searched for among those of reference images",
        }
        write(run.folder / CARD, written("embedder", settings, described, records, best, finish))
        _deliver(run, "embedder", lambda progress: training.package(run, material, head, progress))


def _refuse_idle() -> None:
    """Raises UsageError where an option was given that says how the network learns, which it is not to."""
    context = click.get_current_context()
    for name in ("mine", "batch", "side", "layers", "rate", "patience"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} says how the network learns; give --epochs 1 or more with it")


def say(text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False)


def _told(*names: str) -> Callable[[Mapping[str, Any]], None]:
    """What says an epoch's figures on a line."""

    def tell(record: Mapping[str, Any]) -> None:
        figures = ", ".join(f"{name} {record[name]:.4f}" for name in names if record.get(name) is not None)
        epoch = record.get("epoch")
        what = "with a head" if epoch is None else f"epoch {epoch}" if epoch else "before training"
        say(f"{what}: {figures or 'nothing to validate on'} ({record['seconds']:.0f} s)")

    return tell


@contextmanager
def _steps() -> Iterator[Callable[[str, Step], None]]:
    """What shows how far a training is, after a text."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def report(before: str, step: Step) -> None:
            told = f"{before}epoch {step.epoch}, about {step.seconds_left / 60:.1f} minutes left"
            progress.update(task, description=told, completed=step.step, total=step.steps)

        yield report


def _deliver(run: Run, model: str, packed: Callable[[Report], Package]) -> None:
    """Writes what passes the export's gate, and says what to do with it."""
    started = time.monotonic()
    with refusals(), shown_progress() as progress:
        folder = run.folder / EXPORT
        described = packed(progress).write(folder)
    show(Published(folder, described, is_new=True), time.monotonic() - started)
    click.echo(f"semblance publish {shlex.quote(str(folder))}")
    click.echo(f"semblance release create --{model} VERSION   # the one that publish names")


@contextmanager
def _refusals() -> Iterator[None]:
    """What a user can mend as one line, and exit status 1."""
    try:
        with refusals():
            yield
    except (TrainingError, DatasetError) as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Says after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        resume = [] if "--resume" in sys.argv else ["--resume"]
        say(f"stopped; go on with: {shlex.join(['semblance', *sys.argv[1:], *resume])}")
        raise
