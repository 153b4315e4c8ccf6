"""The options of the commands that export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semblance.export.contract import EMBEDDER, PROJECTED_SIZE, Contract, Precision
from semblance.export.gpu import of_name

if TYPE_CHECKING:
    from semblance.export.gallery import Gallery
    from semblance.export.package import Package
    from semblance.export.session import Progress
    from semblance.v1.manifest_pb2 import Manifest

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

repository_option: Decorator = click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Triton's model repository.",
)

version_option: Decorator = click.option(
    "--version",
    type=click.IntRange(min=1),
    help="Publish as this version.  [default: the next one, over all lengths of vectors]",
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
    is_flag=False,
    flag_value=PROJECTED_SIZE,
    metavar="[N]",
    help="Give vectors of N numbers, principal components learnt from --calibrate, which needs more than 2 N pictures. "
    f"{PROJECTED_SIZE} where N is left out.",
)

whiten_option: Decorator = click.option(
    "--whiten",
    is_flag=True,
    help="With --project: give each component the same variance, so that other vectors become near.",
)

target_option: Decorator = click.option(
    "--target",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="What will compute it in Triton: gpu is TensorRT, in ONNX Runtime unless --engine is given.",
)

gpu_option: Decorator = click.option(
    "--gpu",
    metavar="NAME",
    help="With --target gpu: the GPU that will serve, as nvidia-smi names it.  [default: that of this host]",
)

engine_option: Decorator = click.option(
    "--engine",
    is_flag=True,
    help="With --target gpu: build TensorRT's own engine, for the GPU of this host, by trtexec.",
)

output_option: Decorator = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the model, golden.npz and manifest.json into this folder, and publish nothing.",
)


@dataclass(frozen=True)
class Target:
    """What is to compute a model. Checked when made."""

    processor: str
    gpu: str | None
    engine: bool

    def __post_init__(self) -> None:
        if self.processor != "gpu" and (self.gpu or self.engine):
            raise click.UsageError(f"{'--engine' if self.engine else '--gpu'} is about --target gpu; give that too")
        if self.gpu and self.engine:
            raise click.UsageError("--engine builds for the GPU of this host, and finds out its name; leave --gpu out")

    def found(self) -> Manifest.Gpu | None:
        """Raises ExportError: no GPU is named, and this host has none, or several kinds."""
        return of_name(self.gpu) if self.processor == "gpu" else None


@dataclass(frozen=True)
class Reduction:
    """What is done to a traced network before it is delivered. Checked when made.

    `adapt` is a GPU for which a graph that was exported for CPUs is changed first.
    """

    precision: Precision
    calibrate: Path | None
    project: int | None = None
    whiten: bool = False
    adapt: Manifest.Gpu | None = None

    def __post_init__(self) -> None:
        if self.whiten and self.project is None:
            raise click.UsageError("--whiten is about the components of a projection; give --project N too")
        asked = "--target gpu" if self.precision == "fp32" else f"--precision {self.precision}"
        asked = "--project" if self.project else asked
        if not self.is_needed and self.calibrate:
            raise click.UsageError(
                "--calibrate is for --project, for a --precision other than fp32, and for an exported FOLDER that is "
                "to be for a GPU"
            )
        if self.is_needed and not self.calibrate:
            raise click.UsageError(
                f"{asked} needs pictures of what the model will see, to learn from and to be judged on; give a folder "
                "of some hundreds with --calibrate"
            )

    @property
    def is_needed(self) -> bool:
        return self.precision != "fp32" or self.project is not None or self.adapt is not None

    def apply(self, package: Package, report: Progress) -> Package:
        from semblance.export import gallery, reduction

        contract = package.contract

        def pictures(limit: int) -> Gallery:
            assert self.calibrate is not None
            return gallery.calibration(self.calibrate, limit, contract.input.dims[0], contract.pad_value)

        if self.adapt is not None:
            some = pictures(reduction.PRECISION_PICTURES[contract.model])
            package = reduction.adapt(package, self.adapt, some, report)
        # A projection is learnt from the vectors that will be served, with what rounding adds to them.
        if self.precision != "fp32":
            some = pictures(reduction.PRECISION_PICTURES[contract.model])
            package = reduction.reduce(package, self.precision, some, report)
        if self.project is not None:
            many = pictures(reduction.PROJECTION_PICTURES)
            package = reduction.project(package, self.project, self.whiten, many, report)
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
        target_option,
        gpu_option,
        engine_option,
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


def check_storage(int8_weights: bool, reduction: Reduction) -> None:
    if int8_weights and reduction.is_needed:
        raise click.UsageError(
            "--int8-weights stores a whole network that computes in fp32; it does not go with --precision or --project"
        )
