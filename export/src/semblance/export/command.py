"""`semblance export detector|embedder` and `semblance publish`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from semblance.export import repository as model_repository
from semblance.export.contract import DETECTOR, EMBEDDER, Contract
from semblance.export.errors import ExportError
from semblance.v1.manifest_pb2 import Manifest

if TYPE_CHECKING:
    from semblance.export.gallery import Gallery
    from semblance.export.gate import Progress as Report

TORCH_ONLY = {"onnxruntime", "torch", "torchvision", "ultralytics"}

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@contextmanager
def refusals() -> Iterator[None]:
    """Errors raised on purpose, and a missing torch, as one line for the user and exit status 1."""
    try:
        yield
    except ExportError as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in TORCH_ONLY:
            raise
        raise click.ClickException(
            f"exporting needs {error.name}, which this environment does not have. Run `make setup-export`, then "
            "`.venv/export/bin/semblance export …`."
        ) from error


repository_option: Decorator = click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Triton's model repository.",
)

version_option: Decorator = click.option(
    "--version", type=click.IntRange(min=1), help="Publish as this version.  [default: the next one]"
)


def export_options(contract: Contract) -> Decorator:
    """The options that both models have, in the order of `--help`."""
    options: list[Decorator] = [
        click.option("--random-seed", type=int, metavar="N", help="Random weights from this seed."),
        click.option(
            "--max-batch-size",
            type=click.IntRange(1, 128),
            default=contract.default_max_batch_size,
            show_default=True,
            help="The largest batch; the gate compares every size up to it.",
        ),
        click.option(
            "--int8-weights",
            is_flag=True,
            help="Round convolution weights to int8 per channel: a quarter of the bytes, arithmetic in fp32.",
        ),
        click.option(
            "--images",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Compare on the pictures of this folder.  [default: drawn ones]",
        ),
        repository_option,
        version_option,
        click.option(
            "--output",
            type=click.Path(file_okay=False, path_type=Path),
            help="Write model.onnx and manifest.json into this folder, and publish nothing.",
        ),
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def export() -> None:
    """Turn weights into verified ONNX models and publish them for Triton."""


@export.command()
@click.option(
    "--weights",
    required=True,
    help="Ultralytics detection weights: a .pt file, an official name such as yolov8n.pt, or with --random-seed an "
    "architecture such as yolov8n.yaml.",
)
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="The least score, in the graph.",
)
@click.option(
    "--iou-threshold",
    type=click.FloatRange(0, 1),
    default=0.7,
    show_default=True,
    help="Of the suppression in the graph.",
)
@export_options(DETECTOR)
def detector(
    weights: str,
    score_threshold: float,
    iou_threshold: float,
    random_seed: int | None,
    max_batch_size: int,
    int8_weights: bool,
    images: Path | None,
    repository: Path,
    version: int | None,
    output: Path | None,
) -> None:
    """Export a YOLO detector."""
    if weights.endswith((".yaml", ".yml")) != (random_seed is not None):
        raise click.UsageError(
            "an architecture (.yaml) has random weights and needs --random-seed; trained weights (.pt) take none"
        )
    with refusals(), shown_progress() as report:
        from semblance.export import detector as detectors
        from semblance.export import package

        report("loading the weights", 0, 1)
        source = detectors.load(weights) if random_seed is None else detectors.random(weights, random_seed)
        gallery = pictures(DETECTOR, images, max_batch_size)
        thresholds = detectors.Thresholds(score_threshold, iou_threshold)

        def write(folder: Path) -> Manifest:
            return package.write_detector(folder, source, gallery, thresholds, store_int8=int8_weights, progress=report)

        deliver(write, repository, version, output)


@export.command()
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A state dict of torchvision's resnet50.  [default: the official ImageNet weights]",
)
@export_options(EMBEDDER)
def embedder(
    weights: Path | None,
    random_seed: int | None,
    max_batch_size: int,
    int8_weights: bool,
    images: Path | None,
    repository: Path,
    version: int | None,
    output: Path | None,
) -> None:
    """Export a ResNet-50 embedder."""
    if weights is not None and random_seed is not None:
        raise click.UsageError("--weights and --random-seed exclude each other")
    with refusals(), shown_progress() as report:
        from semblance.export import embedder as embedders
        from semblance.export import package

        report("loading the weights", 0, 1)
        if random_seed is not None:
            source = embedders.random(random_seed)
        else:
            source = embedders.official() if weights is None else embedders.load(weights)
        gallery = pictures(EMBEDDER, images, max_batch_size)

        def write(folder: Path) -> Manifest:
            return package.write_embedder(folder, source, gallery, store_int8=int8_weights, progress=report)

        deliver(write, repository, version, output)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@repository_option
@version_option
def publish(folder: Path, repository: Path, version: int | None) -> None:
    """Publish an exported FOLDER (model.onnx and manifest.json) into the model repository."""
    started = time.monotonic()
    with refusals(), Console(stderr=True).status(f"publishing {folder}"):
        published = model_repository.publish(folder, repository, version)
    show(published, time.monotonic() - started)


def pictures(contract: Contract, folder: Path | None, count: int) -> Gallery:
    from semblance.export import gallery

    size = contract.input.dims[0]
    return (
        gallery.drawn(count, size) if folder is None else gallery.photographs(folder, count, size, contract.pad_value)
    )


def deliver(write: Callable[[Path], Manifest], repository: Path, version: int | None, output: Path | None) -> None:
    """Writes an exported folder to `output`, or aside to publish it, and shows what came of it."""
    started = time.monotonic()
    if output is not None:
        if version is not None:
            raise click.UsageError("--output publishes nothing, so it takes no --version")
        show(model_repository.Published(output, write(output), is_new=True), time.monotonic() - started)
        return
    with tempfile.TemporaryDirectory(prefix="semblance-export-") as folder:
        write(Path(folder))
        published = model_repository.publish(Path(folder), repository, version)
    show(published, time.monotonic() - started)


@contextmanager
def shown_progress() -> Iterator[Report]:
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting")
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)


def show(published: model_repository.Published, seconds: float) -> None:
    """The model, its version, its digest and the figures of its parity, as a table."""
    described = published.manifest
    table = Table(
        *(Column(name, no_wrap=name != "parity") for name in ("model", "version", "SHA-256", "parity", "seconds"))
    )
    figures = (f"{name} {value:.6g}" for name, value in sorted(described.parity.figures.items()))
    table.add_row(
        described.model,
        str(described.version or "–"),
        described.model_file.sha256[:12],
        "\n".join(figures),
        f"{seconds:.1f}",
    )
    console = Console()
    console.print(table)
    state = "written to" if not described.version else "published as" if published.is_new else "already published as"
    console.print(f"{described.model}: {state} {published.folder}", soft_wrap=True)
