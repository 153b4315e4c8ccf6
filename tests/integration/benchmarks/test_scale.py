"""The figure `scale` on the real Milvus standalone, with a catalogue that is large for a test."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.benchmarks import scale
from semblance.benchmarks.collection import Layout
from semblance.benchmarks.exact_search import nearest, recall
from semblance.benchmarks.vectors import Vectors
from semblance.orchestrator.release import IndexParameters

# Two starts of the server, and its compaction, which is slow where cores are shared.
pytestmark = [pytest.mark.standalone, pytest.mark.timeout(900)]


def vectors(intrinsic: int) -> Vectors:
    """Random ones in a subspace of so many dimensions: 1,500 to search in, two bursts of queries."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(64, intrinsic)))[0].T

    def some(count: int) -> NDArray[np.float32]:
        made = rng.normal(size=(count, intrinsic)) @ basis
        return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)

    return Vectors(some(1500), some(500), some(2 * scale.BURST))


def test_search_is_measured_against_exact_search_by_full_vectors(tmp_path: Path) -> None:
    data = vectors(32)
    truth = nearest(data.catalogue, data.queries)
    short = scale.shortened(data, 8)
    lost = recall(nearest(short.catalogue, short.queries), truth)
    layouts = [Layout(8, IndexParameters(ef=ef)) for ef in (64, 128)]
    result = scale.measured(short, truth, layouts, tmp_path)
    assert list(result.rounds) == layouts
    for rounds in result.rounds.values():
        assert len(rounds) == 2
        assert np.mean([each.recall for each in rounds]) == pytest.approx(lost, abs=0.02)
        assert all(each.small > 0 and each.large > 0 for each in rounds)
    assert lost < 0.7
    assert 0 <= result.others_share <= 1
    assert not list(tmp_path.iterdir())
