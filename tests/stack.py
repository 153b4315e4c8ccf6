"""The whole product on this host, from the parts that `semblance up` starts, with the demo's models."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo import catalogue, scenes
from demo.items import collect
from semblance.serving import milvus, orchestrator, triton

ROOT = Path(__file__).resolve().parents[1]


def semblance(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs the `semblance` command as a user would; what it printed is in the result."""
    program = Path(sys.executable).with_name("semblance")
    return subprocess.run([program, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the demo's detector and embedder, version 1 of each."""
    folder = tmp_path_factory.mktemp("model_repository")
    for model in ("detector", "embedder"):
        done = semblance("publish", ROOT / "demo" / "weights" / model, "--repository", folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def inference(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.Triton]:
    """A real Triton with both models loaded."""
    with triton.running(repository, tmp_path_factory.mktemp("triton")) as server:
        yield server


@contextmanager
def started(
    inference: triton.Triton, repository: Path, folder: Path, settings: dict[str, str] | None = None
) -> Iterator[orchestrator.Orchestrator]:
    """An orchestrator with an empty catalogue of its own, on a Milvus Lite of its own and the shared Triton."""
    with (
        milvus.lite(folder / "milvus") as vectors,
        orchestrator.running(
            folder / "orchestrator",
            repository=repository,
            triton=inference.grpc,
            milvus=vectors.uri,
            settings=settings,
        ) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def service(
    inference: triton.Triton, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[orchestrator.Orchestrator]:
    """The whole product, with a catalogue for the tests of one module."""
    with started(inference, repository, tmp_path_factory.mktemp("stack")) as server:
        yield server


@dataclass(frozen=True, slots=True)
class World:
    """A small drawn catalogue with its manifest, the first photo of each item, and scenes that show the items."""

    manifest: Path
    photos: dict[str, Path]
    scenes: list[scenes.Truth]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    items = list(collect(24, 11))
    sprites = [item.draw(384) for item in items]
    catalogue.write(folder, items, sprites, 11)
    scenes.write(folder, items, sprites, 8, 11)
    photos = {item.item_id: folder / "images" / f"{item.item_id}-1.jpg" for item in items}
    return World(folder / "manifest.csv", photos, scenes.read_truth(folder))
