"""Vectors to measure search with: embeddings of drawn items by the fastest of the demo's embedders.

The catalogue are product photos, `SHOTS` of each item; the queries are crops of scenes in which its first items lie.
They are made in parts, each a file, so that work that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from semblance.benchmarks.host import ROOT
from semblance.benchmarks.scenario import ScenarioError, Suite
from semblance.export.contract import EMBEDDING_SIZE, MODEL_FILE
from semblance.export.projection import Projection
from semblance.serving.process import sibling_environment

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semblance" / "vectors"
EMBEDDING = Path(__file__).with_name("embedding.py")
MODELS = "fastest"
"""Whose embedder it is, of those that the suite names."""

CATALOGUE = 100_000
SHOTS = 2
PART = 1000
"""Vectors in a file."""

OTHERS = 2000
QUERIES = 1000
QUERY_PART = -1


@dataclass(frozen=True, slots=True)
class Vectors:
    """float32 [.., dim], each of length 1.

    Attributes:
        catalogue: to search in.
        others: of other items of the same character, to learn from.
        queries: for items of the catalogue's first rows.
    """

    catalogue: NDArray[np.float32]
    others: NDArray[np.float32]
    queries: NDArray[np.float32]

    @classmethod
    def read(cls, folder: Path, count: int) -> Self:
        """The first `count` of the catalogue, which `make` has made. Raises FileNotFoundError where it has not."""
        catalogue, others = np.split(_unit(folder, _parts(count)[1:]), [count])
        return cls(catalogue, others[:OTHERS], _unit(folder, [QUERY_PART]))

    def projected(self, projection: Projection) -> Self:
        return type(self)(*map(projection.apply, (self.catalogue, self.others, self.queries)))


def embedder_of(suite: Suite) -> Path:
    """The model file whose vectors are searched. Raises ScenarioError where there is none."""
    if MODELS not in suite.packages:
        raise ScenarioError(
            f"[packages] names no {MODELS!r}, whose embedder makes the vectors that are searched; name a folder with "
            f"an embedder of {EMBEDDING_SIZE} numbers"
        )
    return Path(suite.models(MODELS)) / "embedder" / MODEL_FILE


def home_of(embedder: Path) -> Path:
    """Where the vectors of an embedder, a model file, are kept."""
    return CACHE / hashlib.sha256(embedder.read_bytes()).hexdigest()[:16]


def make(embedder: Path, count: int, processes: int) -> Iterator[int]:
    """Makes those vectors that `Vectors.read` needs and that are missing; gives how many are left to make."""
    folder = home_of(embedder)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [part for part in _parts(count) if not _file(folder, part).exists()]
    yield len(missing) * PART
    with ThreadPool(processes) as pool:
        for done, _ in enumerate(pool.imap_unordered(partial(_make_part, folder, embedder), missing), 1):
            yield (len(missing) - done) * PART


def _make_part(folder: Path, embedder: Path, part: int) -> None:
    draw = [sys.executable, "-m", "semblance.benchmarks.crops", str(part)]
    embed = [sibling_environment("triton", "setup") / "bin" / "python", EMBEDDING, embedder]
    # The demo, which is no package, is found from the root.
    crops = subprocess.run(draw, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    answer = subprocess.run(embed, input=crops, stdout=subprocess.PIPE, check=True).stdout
    vectors = np.frombuffer(answer, np.float32).reshape(QUERIES if part == QUERY_PART else PART, -1)
    if vectors.shape[1] != EMBEDDING_SIZE:
        raise ValueError(
            f"{embedder} gives vectors of {vectors.shape[1]} numbers, and exact search is by {EMBEDDING_SIZE}; name an "
            "embedder that was exported without --project"
        )
    aside = folder / f".{part}.npy"
    np.save(aside, vectors.astype(np.float16))
    aside.rename(_file(folder, part))


def item_of_row(row: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the item that a row of the catalogue shows."""
    return row // SHOTS


def item_of_query(query: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the item that a query shows."""
    return query % (PART // SHOTS)


def _parts(count: int) -> range:
    return range(QUERY_PART, -(-(count + OTHERS) // PART))


def _file(folder: Path, part: int) -> Path:
    return folder / ("queries.npy" if part == QUERY_PART else f"catalogue-{part:04d}.npy")


def _unit(folder: Path, parts: Iterable[int]) -> NDArray[np.float32]:
    vectors = np.concatenate([np.load(_file(folder, part)) for part in parts]).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
