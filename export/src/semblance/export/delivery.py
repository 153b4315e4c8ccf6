"""Where a package goes, and what the user sees of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from semblance.export import engine
from semblance.export import repository as model_repository
from semblance.export.errors import ExportError

if TYPE_CHECKING:
    from semblance.export.package import Package
    from semblance.export.session import Progress as Report
    from semblance.v1.manifest_pb2 import Manifest

Writer = Callable[[Path], "Manifest"]
"""Writes an exported folder and gives its manifest."""

TORCH_ONLY = {"onnxruntime", "torch", "torchvision", "ultralytics"}


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


@contextmanager
def delivery(
    repository: Path, version: int | None, output: Path | None, build_engine: bool, report: Report
) -> Iterator[Callable[[Package], None]]:
    """What writes a package, or its engine, to `output`, or publishes it, and shows what came of it."""
    with destination(repository, version, output) as put:

        def deliver(package: Package) -> None:
            if not build_engine:
                put(package.write)
                return
            with tempfile.TemporaryDirectory(prefix="semblance-export-") as folder:
                package.write(Path(folder))
                put(engine_of(Path(folder), report))

        yield deliver


def engine_of(exported: Path, report: Report) -> Writer:
    """What writes the engine of an exported folder."""

    def write(folder: Path) -> Manifest:
        report("building the engine", 0, 1)
        return engine.build(exported, folder)

    return write


@contextmanager
def destination(repository: Path, version: int | None, output: Path | None) -> Iterator[Callable[[Writer], None]]:
    """What has a folder written, in `output`, or aside and then published, and shows what came of it."""
    started = time.monotonic()
    if output is not None and version is not None:
        raise click.UsageError("--output publishes nothing, so it takes no --version")

    def put(write: Writer) -> None:
        if output is not None:
            published = model_repository.Published(output, write(output), is_new=True)
        else:
            with tempfile.TemporaryDirectory(prefix="semblance-export-") as folder:
                write(Path(folder))
                published = model_repository.publish(Path(folder), repository, version)
        show(published, time.monotonic() - started)

    yield put


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
