"""`semblance export detector|embedder` and `semblance publish`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from semblance.export import repository as model_repository
from semblance.export.contract import DETECTOR, EMBEDDER, Contract, Precision, embedder_of
from semblance.export.errors import ExportError

if TYPE_CHECKING:
    from semblance.export.gallery import Gallery
    from semblance.export.package import Package
    from semblance.export.session import Progress as Report

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


precision_option: Decorator = click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="What the network computes in: fp16 for GPUs, int8 for CPUs and GPUs. Other than fp32 needs --calibrate.",
)

calibrate_option: Decorator = click.option(
    "--calibrate",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of what the model will see, some hundreds: photos for a detector, crops or photos of items for an "
    "embedder. Reduced precision and projections are learnt from one half of it and judged on the other.",
)

project_option: Decorator = click.option(
    "--project",
    type=click.IntRange(min=1),
    metavar="N",
    help="Give vectors of N numbers, principal components learnt from --calibrate, which needs more than 2 N pictures.",
)

whiten_option: Decorator = click.option(
    "--whiten", is_flag=True, help="With --project: give each component the same variance."
)

output_option: Decorator = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write model.onnx and manifest.json into this folder, and publish nothing.",
)


@dataclass(frozen=True)
class Reduction:
    """What is done to a traced network before it is delivered. Checked when made."""

    precision: Precision
    calibrate: Path | None
    project: int | None = None
    whiten: bool = False

    def __post_init__(self) -> None:
        if self.whiten and self.project is None:
            raise click.UsageError("--whiten is about the components of a projection; give --project N too")
        asked = "--project" if self.project else f"--precision {self.precision}"
        if not self.is_needed and self.calibrate:
            raise click.UsageError("--calibrate is for --project and for a --precision other than fp32")
        if self.is_needed and not self.calibrate:
            raise click.UsageError(
                f"{asked} is learnt from pictures of what the model will see and judged on them; give a folder of some "
                "hundreds with --calibrate"
            )

    @property
    def is_needed(self) -> bool:
        return self.precision != "fp32" or self.project is not None

    def apply(self, package: Package, report: Report) -> Package:
        from semblance.export import gallery, reduction

        contract = package.contract

        def pictures(limit: int) -> Gallery:
            assert self.calibrate is not None
            return gallery.calibration(self.calibrate, limit, contract.input.dims[0], contract.pad_value)

        if self.project is not None:
            few = pictures(reduction.PROJECTION_PICTURES)
            package = reduction.project(package, self.project, self.whiten, few, report)
        if self.precision != "fp32":
            few = pictures(reduction.PRECISION_PICTURES[contract.model])
            package = reduction.reduce(package, self.precision, few, report)
        return package


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
        precision_option,
        *([project_option, whiten_option] if contract is EMBEDDER else []),
        calibrate_option,
        click.option(
            "--int8-weights",
            is_flag=True,
            help="Store convolution weights rounded to int8 per channel: a quarter of the bytes in the exported "
            "folder, arithmetic in fp32.",
        ),
        click.option(
            "--images",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Compare on the pictures of this folder.  [default: drawn ones]",
        ),
        repository_option,
        version_option,
        output_option,
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
    precision: Precision,
    calibrate: Path | None,
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
    reduction = Reduction(precision, calibrate)
    check_storage(int8_weights, reduction)
    with refusals(), shown_progress() as report, delivery(DETECTOR, repository, version, output) as deliver:
        from semblance.export import conversion
        from semblance.export import detector as detectors

        report("loading the weights", 0, 1)
        source = detectors.load(weights) if random_seed is None else detectors.random(weights, random_seed)
        gallery = pictures(DETECTOR, images, max_batch_size)
        thresholds = detectors.Thresholds(score_threshold, iou_threshold)
        package = conversion.convert_detector(source, gallery, thresholds, store_int8=int8_weights, progress=report)
        deliver(reduction.apply(package, report))


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
    precision: Precision,
    project: int | None,
    whiten: bool,
    calibrate: Path | None,
    int8_weights: bool,
    images: Path | None,
    repository: Path,
    version: int | None,
    output: Path | None,
) -> None:
    """Export a ResNet-50 embedder."""
    if weights is not None and random_seed is not None:
        raise click.UsageError("--weights and --random-seed exclude each other")
    reduction = Reduction(precision, calibrate, project, whiten)
    check_storage(int8_weights, reduction)
    contract = embedder_of(project) if project else EMBEDDER
    with refusals(), shown_progress() as report, delivery(contract, repository, version, output) as deliver:
        from semblance.export import conversion
        from semblance.export import embedder as embedders

        report("loading the weights", 0, 1)
        if random_seed is not None:
            source = embedders.random(random_seed)
        else:
            source = embedders.official() if weights is None else embedders.load(weights)
        gallery = pictures(EMBEDDER, images, max_batch_size)
        package = conversion.convert_embedder(source, gallery, store_int8=int8_weights, progress=report)
        deliver(reduction.apply(package, report))


@export.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@precision_option
@project_option
@whiten_option
@calibrate_option
@repository_option
@version_option
@output_option
def reduced(
    folder: Path,
    precision: Precision,
    project: int | None,
    whiten: bool,
    calibrate: Path | None,
    repository: Path,
    version: int | None,
    output: Path | None,
) -> None:
    """Export what FOLDER holds in fp32 at another precision, or projected.

    FOLDER is a published version or what `--output` wrote. Its weights are not needed.
    """
    reduction = Reduction(precision, calibrate, project, whiten)
    if not reduction.is_needed:
        raise click.UsageError("nothing to reduce: give --precision or --project")
    with refusals(), shown_progress() as report:
        from semblance.export import package

        source = package.read(folder)
        if project is not None and source.contract.model == "detector":
            raise click.UsageError(f"{folder} holds a detector; --project is for embedders")
        contract = embedder_of(project) if project else source.contract
        with delivery(contract, repository, version, output) as deliver:
            deliver(reduction.apply(source, report))


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


def check_storage(int8_weights: bool, reduction: Reduction) -> None:
    if int8_weights and reduction.is_needed:
        raise click.UsageError(
            "--int8-weights stores a whole network that computes in fp32; it does not go with --precision or --project"
        )


@contextmanager
def delivery(
    contract: Contract, repository: Path, version: int | None, output: Path | None
) -> Iterator[Callable[[Package], None]]:
    """What writes a package to `output`, or publishes it, and shows what came of it.

    That a version of this contract fits into the repository is checked at once, before the work of minutes.
    """
    started = time.monotonic()
    if output is not None and version is not None:
        raise click.UsageError("--output publishes nothing, so it takes no --version")
    if output is None:
        model_repository.check_fits(repository, contract)

    def deliver(package: Package) -> None:
        if output is not None:
            published = model_repository.Published(output, package.write(output), is_new=True)
        else:
            with tempfile.TemporaryDirectory(prefix="semblance-export-") as folder:
                package.write(Path(folder))
                published = model_repository.publish(Path(folder), repository, version)
        show(published, time.monotonic() - started)

    yield deliver


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
