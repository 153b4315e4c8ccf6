"""`semblance export detector|embedder|reduced|engine` and `semblance publish`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from semblance.export import repository as model_repository
from semblance.export.contract import DETECTOR, EMBEDDER, Contract, Precision
from semblance.export.delivery import delivery, destination, engine_of, refusals, show, shown_progress
from semblance.export.options import (
    Reduction,
    Target,
    calibrate_option,
    check_storage,
    engine_option,
    export_options,
    gpu_option,
    output_option,
    precision_option,
    project_option,
    repository_option,
    target_option,
    version_option,
    whiten_option,
)

if TYPE_CHECKING:
    from semblance.export.gallery import Gallery


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
    target: str,
    gpu: str | None,
    engine: bool,
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
    aim = Target(target, gpu, engine)
    with refusals(), shown_progress() as report, delivery(repository, version, output, engine, report) as deliver:
        from semblance.export import conversion
        from semblance.export import detector as detectors

        found = aim.found()
        report("loading the weights", 0, 1)
        source = detectors.load(weights) if random_seed is None else detectors.random(weights, random_seed)
        gallery = pictures(DETECTOR, images, max_batch_size)
        thresholds = detectors.Thresholds(score_threshold, iou_threshold)
        package = conversion.convert_detector(
            source, gallery, thresholds, gpu=found, store_int8=int8_weights, progress=report
        )
        deliver(reduction.apply(package, report))


@export.command()
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A state dict of torchvision's resnet50.  [default: the official ImageNet weights]",
)
@click.option(
    "--module",
    metavar="PACKAGE.MODULE:FACTORY",
    help="A network of your own: what this callable returns, a torch.nn.Module. It is imported, the current directory "
    "first, and run.",
)
@export_options(EMBEDDER)
def embedder(
    weights: Path | None,
    module: str | None,
    random_seed: int | None,
    max_batch_size: int,
    precision: Precision,
    project: int | None,
    whiten: bool,
    calibrate: Path | None,
    target: str,
    gpu: str | None,
    engine: bool,
    int8_weights: bool,
    images: Path | None,
    repository: Path,
    version: int | None,
    output: Path | None,
) -> None:
    """Export an embedder: ResNet-50, or a network of your own.

    That of --module maps FP32 [B,3,224,224], RGB normalised as torchvision's ImageNet weights are, to FP32 [B,dim].
    """
    if sum(given is not None for given in (weights, module, random_seed)) > 1:
        raise click.UsageError("--weights, --module and --random-seed exclude each other")
    if module is not None and int8_weights:
        raise click.UsageError("--int8-weights is for ResNet-50; --module goes with --precision and --project")
    reduction = Reduction(precision, calibrate, project, whiten)
    check_storage(int8_weights, reduction)
    aim = Target(target, gpu, engine)
    with refusals(), shown_progress() as report, delivery(repository, version, output, engine, report) as deliver:
        from semblance.export import backbone, conversion
        from semblance.export import embedder as embedders

        found = aim.found()
        report("loading the weights", 0, 1)
        if module is not None:
            source = backbone.load(module)
        elif random_seed is not None:
            source = embedders.random(random_seed)
        else:
            source = embedders.official() if weights is None else embedders.load(weights)
        gallery = pictures(EMBEDDER, images, max_batch_size)
        package = conversion.convert_embedder(source, gallery, gpu=found, store_int8=int8_weights, progress=report)
        deliver(reduction.apply(package, report))


@export.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@precision_option
@project_option
@whiten_option
@calibrate_option
@target_option
@gpu_option
@engine_option
@repository_option
@version_option
@output_option
def reduced(
    folder: Path,
    precision: Precision,
    project: int | None,
    whiten: bool,
    calibrate: Path | None,
    target: str,
    gpu: str | None,
    engine: bool,
    repository: Path,
    version: int | None,
    output: Path | None,
) -> None:
    """Export what FOLDER holds in fp32 at another precision, projected, or for a GPU.

    FOLDER is a published version or what `--output` wrote. Its weights are not needed.
    """
    aim = Target(target, gpu, engine)
    with refusals(), shown_progress() as report:
        from semblance.export import package

        source = package.read(folder, for_gpu=target == "gpu")
        adapt = aim.found()
        if adapt is not None and source.manifest.HasField("gpu"):
            source.manifest.gpu.CopyFrom(adapt)
            adapt = None
        reduction = Reduction(precision, calibrate, project, whiten, adapt)
        if not reduction.is_needed:
            raise click.UsageError("nothing to reduce: give --precision, --project or --target")
        if project is not None and source.contract.model == "detector":
            raise click.UsageError(f"{folder} holds a detector; --project is for embedders")
        with delivery(repository, version, output, engine, report) as deliver:
            deliver(reduction.apply(source, report))


@export.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@repository_option
@version_option
@output_option
def engine(folder: Path, repository: Path, version: int | None, output: Path | None) -> None:
    """Build TensorRT's engine of what FOLDER holds, for the GPU of this host, by trtexec.

    FOLDER was exported with --target gpu: a published version, or what `--output` wrote.
    """
    with refusals(), shown_progress() as report, destination(repository, version, output) as put:
        put(engine_of(folder, report))


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@repository_option
@version_option
def publish(folder: Path, repository: Path, version: int | None) -> None:
    """Publish an exported FOLDER, which --output wrote, into the model repository.

    An embedder whose vectors have another length than those published goes into a folder of its own, `embedder_N`.
    """
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
