"""What the figure `scale` compares search with, and the vectors that it is measured on."""

from pathlib import Path

import numpy as np
import pytest

from semblance.benchmarks import scale, vectors
from semblance.benchmarks.exact_search import TOP, nearest, recall
from semblance.benchmarks.scenario import Rounds, ScenarioError, Suite
from semblance.benchmarks.vectors import Vectors


def test_exact_search_finds_the_nearest() -> None:
    rng = np.random.default_rng(0)
    catalogue, queries = (rng.normal(size=(count, 8)).astype(np.float32) for count in (300, 120))
    for query, found in zip(queries, nearest(catalogue, queries), strict=True):
        assert list(found) == list(np.argsort(-catalogue @ query)[:TOP])


def test_recall_is_the_share_of_the_truth_that_was_found() -> None:
    assert recall(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [4, 5]])) == 0.75


def test_vectors_are_read_with_others_to_learn_from(tmp_path: Path) -> None:
    for name in ("queries", *(f"catalogue-{part:04d}" for part in range(4))):
        np.save(tmp_path / f"{name}.npy", np.full((1000, 2), 3, np.float16))
    read = Vectors.read(tmp_path, 1500)
    assert [len(part) for part in (read.catalogue, read.others, read.queries)] == [1500, 2000, 1000]
    assert read.catalogue[0] == pytest.approx([0.5**0.5, 0.5**0.5])


def test_only_what_is_missing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "CACHE", tmp_path)
    embedder = tmp_path / "model.onnx"
    embedder.write_bytes(b"weights")
    folder = vectors.home_of(embedder)
    folder.mkdir()
    for name in ("queries", *(f"catalogue-{part:04d}" for part in range(3))):
        (folder / f"{name}.npy").touch()
    assert list(vectors.make(embedder, 1000, 1)) == [0]
    assert next(vectors.make(embedder, 1001, 1)) == 1000


def test_a_suite_without_the_embedder_says_what_is_needed() -> None:
    rounds = Rounds(rounds=1, seconds=1, in_flight=1)
    suite = Suite(milvus="standalone", items=1, scenes=1, packages={"fp32": Path("/models")}, figures=rounds)
    with pytest.raises(ScenarioError, match=r"names no 'fastest'.* an embedder of 2048 numbers"):
        vectors.embedder_of(suite)


def test_the_default_layout_and_full_vectors_are_among_those_measured() -> None:
    assert (scale.DEFAULT.dimension, scale.DEFAULT.index.m) in scale.BUILT
    assert scale.DEFAULT.index.ef in scale.EFS
    assert (2048, scale.DEFAULT.index.m) in scale.BUILT
