"""Average precision against COCO's own program and Ultralytics', and by weights against photos that are there twice."""

import numpy as np
import pytest
from ultralytics.utils.metrics import ap_per_class

from semblance.training.evaluate.detection import Matches, figures, matched
from semblance.training.evaluate.sample import Detection, PhotoSample
from tests.training.evaluate.samples import CLASSES, photo, random_photos, wanted

PHOTOS = random_photos(7, 60)

# pycocotools 2.0.11, `COCOeval(…, "bbox")` over `random_photos(7, 60)`: AP at IoU 0.5, and over 0.5 to 0.95.
COCO = {
    "card": (0.5846853456, 0.2476439689),
    "badge": (0.5023644274, 0.2448944229),
    "figurine": (0.3631403350, 0.2035209306),
}
COCO_MEAN = (0.4833967027, 0.2320197741)


def without_ties(each: PhotoSample, rng: np.random.Generator) -> PhotoSample:
    """With scores of which no two are equal: the order of those that are is nobody's."""
    detections = [d.model_copy(update={"score": d.score + rng.uniform(0, 1e-4)}) for d in each.detections]
    return each.model_copy(update={"detections": tuple(sorted(detections, key=lambda d: -d.score))})


def once(photos: int) -> np.ndarray:
    return np.ones((1, photos))


@pytest.mark.parametrize("name", CLASSES)
def test_average_precision_is_that_of_pycocotools(name: str) -> None:
    [values] = figures([Matches.of(PHOTOS, name)], once(60))
    assert values[:2] == pytest.approx(COCO[name], abs=1e-8)


def test_its_mean_over_classes_is_that_of_pycocotools() -> None:
    [values] = figures([Matches.of(PHOTOS, name) for name in CLASSES], once(60))
    assert values[:2] == pytest.approx(COCO_MEAN, abs=1e-8)


def test_it_is_near_to_ultralytics_which_integrates_otherwise() -> None:
    every = [Matches.of(PHOTOS, name) for name in CLASSES]
    scores = [sorted(-d.score for p in PHOTOS for d in p.detections if d.class_name == name) for name in CLASSES]
    numbers = range(len(CLASSES))
    theirs = ap_per_class(
        np.concatenate([each.right for each in every]),
        -np.concatenate(scores),
        np.repeat(numbers, [len(each.right) for each in every]),
        np.repeat(numbers, [each.objects.sum() for each in every]),
    )[5]
    mine = np.stack([each.average_precision(once(60))[0] for each in every])
    np.testing.assert_allclose(mine, theirs, atol=0.015)
    np.testing.assert_allclose(mine.mean(), theirs.mean(), atol=0.005)


def test_a_photo_that_counts_twice_is_as_if_it_were_there_twice() -> None:
    rng = np.random.default_rng(3)
    photos = [without_ties(each, rng) for each in PHOTOS]
    for _ in range(5):
        counts = rng.multinomial(60, np.full(60, 1 / 60))
        repeated = [photos[number] for number in range(60) for _ in range(counts[number])]
        by_weight = figures([Matches.of(photos, name) for name in CLASSES], counts[None].astype(float))
        by_copy = figures([Matches.of(repeated, name) for name in CLASSES], once(60))
        np.testing.assert_allclose(by_weight, by_copy, atol=1e-9)


def test_a_class_without_objects_in_a_resample_does_not_count() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    found = (Detection(class_name="card", score=0.9, box=box),)
    photos = [photo(0, (wanted(box, "card"),), found), photo(1, (wanted(box, "badge"),))]
    every = [Matches.of(photos, name) for name in ("card", "badge")]
    values = figures(every, np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert values[:, 0] == pytest.approx([0.5, 1, 0, np.nan], nan_ok=True)
    assert values[:, 2] == pytest.approx([0.5, 1, 0, np.nan], nan_ok=True)


def test_a_second_box_of_an_object_is_wrong_and_so_is_one_of_another_class() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    boxes = [("card", 0.9), ("card", 0.8), ("badge", 0.7)]
    found = tuple(Detection(class_name=name, score=score, box=box) for name, score in boxes)
    [values] = figures([Matches.of([photo(0, (wanted(box),), found)], name) for name in ("card", "badge")], once(1))
    assert values.tolist() == [1, 1, 1, pytest.approx(1 / 3)]


def test_what_is_below_the_served_score_counts_for_average_precision_alone() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    found = (Detection(class_name="card", score=0.1, box=box),)
    [values] = figures([Matches.of([photo(0, (wanted(box),), found)], "card")], once(1))
    assert values[:3].tolist() == [1, 1, 0]
    assert np.isnan(values[3])


def test_detections_choose_in_their_order_the_free_object_that_they_overlap_most() -> None:
    ious = np.array([[0.6, 0.9], [0.2, 0.8], [0.7, 0.0]])
    assert matched(ious, 0.5).tolist() == [1, -1, 0]
    assert matched(ious, 0.75).tolist() == [1, -1, -1]
    assert matched(np.zeros((2, 0)), 0.5).tolist() == [-1, -1]
