"""Principal components: what is learnt, and what the graph then computes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.export import graph, projection
from semblance.export.contract import embedder_of
from semblance.export.errors import ExportError
from tests.unit.export import graphs


def unit_vectors(count: int, dims: int, seed: int = 0) -> NDArray[np.float32]:
    """Vectors that differ in some directions far more than in others, around a mean that is not zero."""
    random = np.random.default_rng(seed)
    spread = 0.9 ** np.arange(dims)
    turn, _ = np.linalg.qr(random.normal(size=(dims, dims)))
    vectors = (random.normal(size=(count, dims)) * spread + 0.3) @ turn
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, np.float32)


def test_components_are_those_about_the_origin_and_keep_the_variance_that_they_claim() -> None:
    vectors = unit_vectors(400, 32)
    fitted = projection.fit(vectors, 8, whiten=False)
    components = vectors @ fitted.matrix + fitted.bias
    moments = components.T @ components / len(vectors)
    np.testing.assert_allclose(moments - np.diag(np.diag(moments)), 0, atol=1e-6)
    assert list(np.diag(moments)) == sorted(np.diag(moments), reverse=True)
    assert components.var(axis=0).sum() / vectors.var(axis=0).sum() == pytest.approx(
        fitted.explained_variance, rel=1e-4
    )


def test_whitened_components_vary_alike() -> None:
    vectors = unit_vectors(400, 32)
    fitted = projection.fit(vectors, 8, whiten=True)
    components = vectors @ fitted.matrix + fitted.bias
    np.testing.assert_allclose(components.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(components.std(axis=0), 1, rtol=1e-3)


def test_all_components_but_the_last_keep_what_is_near() -> None:
    vectors = unit_vectors(400, 32)
    projected = projection.fit(vectors, 31, whiten=False).apply(vectors)
    np.testing.assert_allclose(projected @ projected.T, vectors @ vectors.T, atol=0.02)


def test_length_comes_back_in_the_last_half_alone() -> None:
    vectors = unit_vectors(400, 32)
    fitted = projection.fit(vectors, 16, whiten=False)
    projected = fitted.apply(vectors)
    np.testing.assert_allclose(projected[:, :8], vectors @ fitted.matrix[:, :8], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, rtol=1e-5)
    assert (np.linalg.norm(vectors @ fitted.matrix, axis=1) < 0.999).any()


@pytest.mark.parametrize(
    ("count", "size", "message"), [(400, 32, "gives 32 numbers"), (20, 20, "more than 20 pictures")]
)
def test_more_components_than_there_can_be_are_refused(count: int, size: int, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        projection.fit(unit_vectors(count, 32), size, whiten=False)


def test_the_graph_projects_its_own_vectors() -> None:
    model = graphs.embedder(contract=embedder_of(64))
    crops = np.random.default_rng(1).integers(0, 256, (40, 224, 224, 3), dtype=np.uint8)
    vectors = graphs.evaluate(model, crop=crops)
    fitted = projection.fit(vectors, 3, whiten=False)
    projecting = projection.append(model, fitted)
    graph.check(projecting, embedder_of(3))
    found = graphs.evaluate(projecting, crop=crops[:5])
    np.testing.assert_allclose(found, fitted.apply(vectors[:5]), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
