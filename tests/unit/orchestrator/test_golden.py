"""When answers are those of the exported model, and when they are another's."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator.errors import ContractMismatch
from semblance.orchestrator.golden import compare_golden
from semblance.orchestrator.ports import Golden
from semblance.orchestrator.release import ModelVersion
from semblance.orchestrator.testing import DETECTIONS, FakeInferenceServer, block_means, example_release

RELEASE = example_release()
DETECTOR, EMBEDDER = RELEASE.detector, replace(RELEASE.embedder, name="embedder_48", max_batch_size=2)
BOX = (100.0, 100.0, 200.0, 200.0)


def crops() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), np.uint8)


def embedded(pixels: NDArray[np.uint8]) -> Golden:
    return Golden(pixels, np.stack([block_means(crop, RELEASE.dimension) for crop in pixels]))


def turned(golden: Golden, picture: int, cosine: float) -> Golden:
    """With one vector turned to a cosine with what it was."""
    vectors = golden.outputs.copy()
    across = np.roll(vectors[picture], 1)
    across -= (across @ vectors[picture]) * vectors[picture]
    vectors[picture] = cosine * vectors[picture] + (1 - cosine**2) ** 0.5 * across / np.linalg.norm(across)
    return Golden(golden.inputs, vectors)


def detections(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    padded = np.zeros((DETECTIONS, 6), np.float32)
    padded[: len(rows)] = np.reshape(rows, (-1, 6))
    return padded


async def compare_detections(expected: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    server = FakeInferenceServer(DETECTOR)
    server.detections = found
    await compare_golden(server, DETECTOR, Golden(np.zeros((1, 640, 640, 3), np.uint8), expected[None]), 5)


async def test_an_embedder_that_answers_as_it_did_passes_in_batches_that_it_takes() -> None:
    server = FakeInferenceServer(EMBEDDER)
    await compare_golden(server, EMBEDDER, embedded(crops()), 5)
    assert server.requests == [("embedder_48", 2), ("embedder_48", 2), ("embedder_48", 1)]


async def test_a_vector_may_turn_a_little() -> None:
    await compare_golden(FakeInferenceServer(EMBEDDER), EMBEDDER, turned(embedded(crops()), 3, 0.992), 5)


@pytest.mark.parametrize("cosine", [0.988, 0.0, -1.0])
async def test_a_vector_that_turned_is_named(cosine: float) -> None:
    with pytest.raises(
        ContractMismatch, match=f"embedder_48 version 1 .* picture 4 of 5 .*{cosine:.4f}, at least 0.99"
    ):
        await compare_golden(FakeInferenceServer(EMBEDDER), EMBEDDER, turned(embedded(crops()), 3, cosine), 5)


@pytest.mark.parametrize("number", [0.0, np.nan])
async def test_a_vector_without_a_direction_is_another(number: float) -> None:
    golden = embedded(crops())
    golden.outputs[0] = number
    with pytest.raises(ContractMismatch, match="picture 1 of 5"):
        await compare_golden(FakeInferenceServer(EMBEDDER), EMBEDDER, golden, 5)


@pytest.mark.parametrize(
    "found",
    [
        detections((*BOX, 0.9, 0)),
        detections((104, 97, 203, 200, 0.82, 0)),
        detections((*BOX, 0.9, 0), (300, 300, 400, 400, 0.4, 0)),
        detections((300, 300, 400, 400, 0.4, 2), (*BOX, 0.9, 0)),
    ],
    ids=["the same", "moved a little", "and one that is unsure", "in another order"],
)
async def test_a_detector_that_answers_nearly_as_it_did_passes(found: NDArray[np.float32]) -> None:
    await compare_detections(detections((*BOX, 0.9, 0)), found)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (detections(), r"\[100 100 200 200\] of class 0 with score 0.90 is missing"),
        (detections((*BOX, 0.9, 1)), "class 0 with score 0.90 is missing"),
        (detections((*BOX, 0.75, 0)), "score 0.90 is missing"),
        (detections((100, 100, 200, 175, 0.9, 0)), "is missing; one with an IoU of at least 0.8"),
        (detections((*BOX, np.nan, 0)), "is missing"),
        (detections((*BOX, 0.9, 0), (300, 300, 400, 400, 0.6, 0)), r"\[300 300 400 400\] .* is new"),
    ],
    ids=["nothing", "another class", "another score", "another box", "no number", "one more"],
)
async def test_detections_that_are_others_are_named(found: NDArray[np.float32], message: str) -> None:
    with pytest.raises(ContractMismatch, match=f"detector version 1 .*{message}"):
        await compare_detections(detections((*BOX, 0.9, 0)), found)


async def test_a_score_about_the_limit_may_be_on_either_side() -> None:
    above, below = detections((*BOX, 0.53, 0)), detections((*BOX, 0.47, 0))
    await compare_detections(above, below)
    await compare_detections(below, above)


async def test_a_picture_that_shows_nothing_may_go_on_to() -> None:
    await compare_detections(detections(), detections())


async def test_a_model_that_is_not_served_is_said_so() -> None:
    absent: ModelVersion = replace(EMBEDDER, version=9)
    with pytest.raises(ContractMismatch, match="version 9"):
        await compare_golden(FakeInferenceServer(EMBEDDER), absent, embedded(crops()), 5)
