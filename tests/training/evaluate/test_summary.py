"""What the report tells its reader to do."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from semblance.training.dataset.dataset import Dataset, Manifest
from semblance.training.evaluate.catalogue import Catalogue
from semblance.training.evaluate.evaluation import Comparison, Evaluation, IndexFindings, Plan
from semblance.training.evaluate.figures import differences, estimates
from semblance.training.evaluate.interval import Bootstrap
from semblance.training.evaluate.sample import Answer, ObjectSample, PhotoSample
from semblance.training.evaluate.service import Observed
from semblance.training.evaluate.summary import summary
from semblance.training.evaluate.sweep import Point
from tests.training.evaluate.samples import answer, photo, wanted

BOX = (0.0, 0.0, 10.0, 10.0)
RIGHT, WRONG = answer(1), answer(3)
BOOTSTRAP = Bootstrap(60, resamples=300)


def photos(kinds: Sequence[tuple[int, Answer | None, Answer]]) -> list[PhotoSample]:
    """Sixty photos of one object, as many of each kind as it says; the rest is right."""
    objects = [wanted(BOX, found=found, given=given) for count, found, given in kinds for _ in range(count)]
    objects += [wanted(BOX, found=RIGHT, given=RIGHT)] * (60 - len(objects))
    return [photo(number, (each,)) for number, each in enumerate(objects)]


def evaluation(
    samples: Sequence[PhotoSample],
    before: Sequence[PhotoSample] = (),
    index: IndexFindings | str = "no --milvus was given",
) -> Evaluation:
    dataset = Dataset(Path("shop"), Manifest(classes=("card",), source={}, images=()))
    figures = estimates(samples, ["card"], BOOTSTRAP)
    compared = Comparison("r1", differences(samples, before, ["card"], BOOTSTRAP), {}) if before else None
    return Evaluation(
        Plan(dataset, "test", (), None, None, None, None, 0, 0),
        Observed("r2", tuple(samples), np.zeros((60, 2), np.float32)),
        figures,
        {"card": figures},
        compared,
        index,
        None,
        None,
    )


def said(each: Evaluation) -> str:
    return " ".join(sentence.text for sentence in summary(each))


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        ([(15, WRONG, WRONG), (1, None, RIGHT)], "train the embedder first"),
        ([(1, WRONG, WRONG), (15, None, RIGHT)], "train the detector first"),
        ([(1, WRONG, WRONG), (15, WRONG, RIGHT)], "train the detector first"),
        ([(4, WRONG, WRONG), (5, None, RIGHT)], "don't tell which of the two loses more"),
    ],
)
def test_it_tells_which_model_to_train_where_the_photos_do(
    kinds: Sequence[tuple[int, Answer | None, Answer]], verdict: str
) -> None:
    assert verdict in said(evaluation(photos(kinds)))


def test_there_is_nothing_to_blame_where_all_is_well() -> None:
    assert "train the" not in said(evaluation(photos([])))


@pytest.mark.parametrize(
    ("late", "early", "verdict"),
    [(2, 20, "Better: +30.0 points"), (20, 2, "Worse: -30.0 points"), (10, 10, "No difference can be told")],
)
def test_it_tells_whether_a_release_is_better(late: int, early: int, verdict: str) -> None:
    after, before = (photos([(count, WRONG, WRONG)]) for count in (late, early))
    assert verdict in said(evaluation(after, before))


@pytest.mark.parametrize(
    ("recalls", "verdict"),
    [
        ((0.9, 0.99, 1.0), "the index finds 99.0 %"),
        ((0.7, 0.9, 0.985), "An ef of 256 finds 98.5 %, for 2.0 times the time in Milvus"),
        ((0.5, 0.6, 0.7), "build it with a larger M"),
    ],
)
def test_it_tells_which_ef_to_take(recalls: tuple[float, float, float], verdict: str) -> None:
    rows = zip((16, 128, 256), recalls, (1.0, 2.0, 4.0), strict=True)
    points = tuple(Point(ef, recall, cost, milliseconds=1) for ef, recall, cost in rows)
    one = np.array(["one"])
    catalogue = Catalogue("Milvus 2", "items_r2", "COSINE", one, one, np.zeros((1, 2), np.float32))
    index = IndexFindings(catalogue, 128, points, measures={})
    assert verdict in said(evaluation(photos([]), index=index))


def test_it_tells_what_was_not_measured() -> None:
    assert "not compared with exact search: no --milvus was given" in said(evaluation(photos([])))


def test_a_class_that_is_clearly_worse_is_named() -> None:
    def of(name: str, number: int) -> PhotoSample:
        wrong = name == "badge" and number % 2 == 0
        made = ObjectSample(
            class_name=name, box=BOX, item_id="x", found=WRONG if wrong else RIGHT, given=WRONG if wrong else RIGHT
        )
        return photo(number, (made,))

    samples = [of("badge" if number < 30 else "card", number) for number in range(60)]
    whole = evaluation(samples)
    figures = {name: estimates(samples, [name], BOOTSTRAP) for name in ("badge", "card")}
    both = Evaluation(
        whole.plan, whole.observed, estimates(samples, ["badge", "card"], BOOTSTRAP), figures, None, "none", None, None
    )
    text = said(both)
    assert "Class badge is worse than the others: 50.0 %" in text
    assert "most of it is lost by the embedder" in text
    assert "Class card" not in text
