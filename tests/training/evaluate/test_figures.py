"""Retrieval's figures, what failures are put down to, and differences of two evaluations."""

import numpy as np
import pytest

from semblance.training.evaluate.figures import MEANINGS, differences, estimates, statistic
from semblance.training.evaluate.interval import Bootstrap
from semblance.training.evaluate.sample import ObjectSample, PhotoSample
from tests.training.evaluate.samples import CLASSES, answer, photo, random_photos, wanted

BOX = (0.0, 0.0, 10.0, 10.0)


def values(photos: list[PhotoSample], classes: tuple[str, ...] = CLASSES) -> dict[str, float]:
    [row] = statistic(photos, classes)(np.ones((1, len(photos))))
    return dict(zip(MEANINGS, row.tolist(), strict=True))


def test_recall_and_reciprocal_rank_of_known_ranks() -> None:
    ranks = [1, 2, 6, None]
    photos = [photo(0, tuple(wanted(BOX, found=answer(rank), given=answer(1)) for rank in ranks))]
    found = values(photos)
    assert [found[name] for name in ("recall@1", "recall@5", "recall@10")] == [0.25, 0.5, 0.75]
    assert found["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 6) / 4)
    assert found["recall@1_true_boxes"] == found["mrr_true_boxes"] == 1


def test_failures_are_put_down_to_the_missing_box_the_inexact_box_or_the_embedder() -> None:
    objects = (
        wanted(BOX, found=answer(1), given=answer(1)),
        wanted(BOX, found=None, given=answer(1)),
        wanted(BOX, found=answer(2), given=answer(1)),
        wanted(BOX, found=answer(2), given=answer(3)),
        wanted(BOX, found=answer(None), given=answer(None)),
    )
    found = values([photo(0, objects)])
    assert [found[name] for name in ("missed", "misplaced", "misjudged")] == [0.2, 0.2, 0.4]
    assert found["recall@1"] == pytest.approx(1 - 0.2 - 0.2 - 0.4)


def test_an_object_without_an_item_is_no_query() -> None:
    nameless = ObjectSample(class_name="card", box=BOX, item_id=None, found=None, given=None)
    found = values([photo(0, (nameless, wanted(BOX, found=answer(1), given=answer(1))))])
    assert found["recall@1"] == 1
    assert found["detection_recall"] == 0


def test_figures_of_a_class_are_of_its_objects_alone() -> None:
    photos = random_photos(2, 30)
    cards = [each for each in (o for p in photos for o in p.objects) if each.class_name == "card"]
    expected = np.mean([bool(each.found and each.found.rank == 1) for each in cards])
    assert values(photos, ("card",))["recall@1"] == pytest.approx(expected)


def test_resampled_figures_are_those_of_photos_drawn_again() -> None:
    photos = random_photos(4, 12)
    counts = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12))
    drawn = [photos[number] for number in range(12) for _ in range(counts[number])]
    by_weight = statistic(photos, CLASSES)(counts[None].astype(float))
    np.testing.assert_allclose(by_weight, statistic(drawn, CLASSES)(np.ones((1, 12))), atol=1e-9)


def test_the_paired_difference_is_narrower_than_two_intervals_apart() -> None:
    """One object in ten became right, none wrong: the photos' own differences cancel."""
    rng = np.random.default_rng(9)
    before: list[PhotoSample] = []
    after: list[PhotoSample] = []
    for number in range(80):
        hard = rng.random() < 0.4
        ranks = [2 if hard or rng.random() < 0.1 else 1 for _ in range(4)]
        better = [1 if rng.random() < 0.1 else rank for rank in ranks]
        for photos, those in ((before, ranks), (after, better)):
            photos.append(photo(number, tuple(wanted(BOX, found=answer(r), given=answer(r)) for r in those)))
    bootstrap = Bootstrap(80)
    early, late = (estimates(photos, CLASSES, bootstrap)["recall@1"] for photos in (before, after))
    difference = differences(after, before, CLASSES, bootstrap)["recall@1"]
    assert difference.value == pytest.approx(late.value - early.value)
    assert 0 < difference.low < difference.value < difference.high
    assert difference.high - difference.low < 0.5 * (early.high - early.low)


def test_an_evaluation_does_not_differ_from_itself() -> None:
    photos = random_photos(1, 20)
    for difference in differences(photos, photos, CLASSES, Bootstrap(20, resamples=50)).values():
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
