"""What counts as a loss, and what of it is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.export import fidelity
from semblance.export.errors import GateFailed

NAMES = ("one.jpg", "other.jpg")


def detections(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """[100,6], padded with zeros."""
    padded = np.zeros((100, 6), np.float32)
    padded[: len(rows)] = np.reshape(rows, (-1, 6))
    return padded


CUP, BALL = (0, 0, 100, 100, 0.9, 0), (200, 200, 300, 300, 0.8, 1)
WHISPER = (400, 400, 450, 450, 0.1, 0)
EXPECTED = np.stack([detections(CUP, BALL), detections(BALL)])


def test_the_same_detections_lose_nothing() -> None:
    result = fidelity.of_detections(EXPECTED, EXPECTED, NAMES, "int8")
    assert result.figures == {"int8_mean_iou": 1, "int8_map50_loss": 0, "int8_objects": 3}
    assert result.failures == []
    assert result.cost == 0


def test_what_the_service_would_not_answer_with_is_no_truth_and_no_mistake() -> None:
    expected = np.stack([detections(CUP, BALL, WHISPER), detections(BALL)])
    assert fidelity.of_detections(expected, EXPECTED, NAMES, "int8").cost == 0
    assert fidelity.of_detections(EXPECTED, expected, NAMES, "int8").cost == 0


def test_a_missed_object_is_refused_by_figure_and_picture() -> None:
    found = np.stack([detections(CUP, BALL), detections()])
    result = fidelity.of_detections(EXPECTED, found, NAMES, "int8")
    assert result.figures["int8_map50_loss"] == pytest.approx(0.25)  # one of the two balls, one of the two classes
    with pytest.raises(GateFailed, match=r"int8_map50_loss is 0.2500, at most 0.02 allowed; worst on other\.jpg"):
        result.check("int8 loses too much", "")


def test_an_invented_object_that_outscores_the_truth_costs_precision() -> None:
    found = np.stack([detections(CUP, BALL), detections((0, 0, 50, 50, 0.95, 1), BALL)])
    assert fidelity.of_detections(EXPECTED, found, NAMES, "int8").figures["int8_map50_loss"] > 0.1


def test_boxes_that_moved_are_refused_though_each_is_found() -> None:
    moved = np.stack([detections((15, 0, 115, 100, 0.9, 0), BALL), detections(BALL)])
    result = fidelity.of_detections(EXPECTED, moved, NAMES, "int8")
    assert result.figures["int8_map50_loss"] == 0
    assert "int8_mean_iou is 0.91" in result.failures[0]
    assert result.worst == "one.jpg"


def test_nothing_to_compare_proves_nothing() -> None:
    with pytest.raises(GateFailed, match="finds nothing"):
        fidelity.of_detections(EXPECTED * 0, EXPECTED, NAMES, "int8")


def test_a_turned_vector_is_refused_by_figure_and_picture() -> None:
    expected = np.eye(2, 8, dtype=np.float32)
    found = expected.copy()
    found[1, 7] = 0.3
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert fidelity.of_vectors(expected, expected, NAMES, "int8").failures == []
    with pytest.raises(GateFailed, match=r"int8_min_cosine is 0.9578, at least 0.97 allowed; worst on other\.jpg"):
        fidelity.of_vectors(expected, found, NAMES, "int8").check("int8 loses too much", "")


def test_lost_recall_is_refused() -> None:
    same = fidelity.of_vectors(np.eye(2, 8, dtype=np.float32), np.eye(2, 8, dtype=np.float32), NAMES, "int8")
    assert same.with_recall(0.9, 0.895, "int8").failures == []
    assert "int8_recall_at_1_loss is 0.0200" in same.with_recall(0.9, 0.88, "int8").failures[0]


def test_a_vector_that_is_not_a_number_is_refused() -> None:
    expected = np.eye(2, 8, dtype=np.float32)
    assert fidelity.of_vectors(expected, expected * np.nan, NAMES, "int8").failures
