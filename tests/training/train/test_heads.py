"""The head behind an embedder: what makes crops of one item differ counts less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from semblance.export import embedder as exported
from semblance.export import gallery as galleries
from semblance.training.train import heads
from semblance.training.train.embedder import headed, package, scaled
from semblance.training.train.heads import Headed
from semblance.training.train.material import Material, Squares
from semblance.training.train.run import Run
from tests.training.train.course import begun, quiet

ITEMS, DIMS, LIGHT = 40, 24, 8


def crops(seed: int) -> NDArray[np.float32]:
    """FP32 [ITEMS,DIMS] of length 1: items differ a little along all axes, crops of one much along the first few."""
    items = np.random.default_rng(0).normal(size=(ITEMS, DIMS))
    crop = np.random.default_rng(seed).normal(size=(ITEMS, DIMS)) * np.where(np.arange(DIMS) < LIGHT, 4.0, 0.3)
    return unit(3.0 + items + crop)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def found(references: NDArray[np.float32], queries: NDArray[np.float32]) -> float:
    return float(((queries @ references.T).argmax(1) == np.arange(ITEMS)).mean())


def learnt() -> heads.Head:
    return heads.fit(np.concatenate([crops(seed) for seed in range(1, 7)]), np.tile(np.arange(ITEMS), 6))


def test_unseen_crops_are_found_that_were_not_before() -> None:
    head, references, queries = learnt(), crops(101), crops(102)
    assert found(references, queries) < 0.5
    assert found(head.apply_to(references), head.apply_to(queries)) > 0.9


def test_crops_of_an_item_spread_alike_along_every_axis() -> None:
    """The definition: behind the head, the within-class covariance is the identity but for the ridge."""
    head = learnt()
    mapped = np.stack([head(torch.from_numpy(crops(seed))).detach().numpy() for seed in range(1, 7)])
    within = (mapped - mapped.mean(axis=0)).reshape(-1, DIMS)
    covariance = within.T @ within / len(within)
    spread = np.diag(covariance)
    assert np.abs(covariance - np.diag(spread)).max() < 1e-3
    assert (spread < 1).all()
    assert np.median(spread) > 0.2


def test_a_network_with_a_head_gives_what_the_head_makes_of_its_vectors() -> None:
    trunk = exported.random(1).trunk.eval()
    pixels = scaled(galleries.drawn(4, 64).pixels)
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(trunk(pixels)).numpy()
        head = heads.fit(vectors, np.array([0, 0, 1, 1]))
        given = torch.nn.functional.normalize(Headed(trunk, head)(pixels)).numpy()
    np.testing.assert_allclose(given, head.apply_to(vectors), atol=1e-5)
    assert not np.allclose(given, vectors, atol=1e-2)


def test_a_run_is_exported_with_its_head(cut: Material, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begun(folder, cut).train(quiet)
    # Nothing to validate on: the head is kept, and its graph passes the export's gate.
    blind = Material(cut.items, cut.patches, {}, cut.gallery, Squares(cut.queries.pixels[:0], ()))
    head, record = headed(Run.open(folder, {}, resume=True), blind, 0, quiet)
    assert head is not None
    assert record["recall@1"] is None
    graph = package(Run(folder), blind, head, quiet).model
    assert any(list(tensor.dims) == [2048, 2048] for tensor in graph.graph.initializer)


def test_a_head_that_finds_no_more_is_left_out(cut: Material, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begun(folder, cut).train(quiet)
    # Queries that are the references themselves are all found without it.
    easy = Material(cut.items, cut.patches, {}, cut.gallery, cut.gallery)
    head, _ = headed(Run.open(folder, {}, resume=True), easy, 0, quiet)
    assert head is None
