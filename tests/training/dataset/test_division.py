"""Images are dealt out so that nothing is measured with what was learnt from."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semblance.training.dataset.check import Checked
from semblance.training.dataset.dataset import SPLITS, AnnotatedObject
from semblance.training.dataset.division import IndivisibleError, divide, kept
from semblance.training.dataset.photo import Photo
from semblance.training.dataset.source import SourceImage
from tests.training.dataset.exports import annotation, imported, rectangle, refused, task, tasks_of, write

SHARES = (0.7, 0.15, 0.15)


def image(*objects: tuple[str, str | None]) -> Checked:
    """An image with objects of these classes and items."""
    found = tuple(
        AnnotatedObject.model_validate({"class": name, "box": (0, 0, 9, 9), "item_id": item}) for name, item in objects
    )
    looks = np.zeros(32, np.uint8)
    return Checked(SourceImage("", "", ()), Photo(Path("a.jpg"), "0" * 64, 10, 10, ".jpg", looks), found)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60).map(str)), max_size=2), min_size=1, max_size=80
    ),
    st.integers(0, 5),
)
def test_no_item_is_in_two_splits(photos: list[list[tuple[str, str]]], seed: int) -> None:
    images = [image(*objects) for objects in photos]
    try:
        division = divide(images, [], SHARES, "item", seed)
    except IndivisibleError:
        return
    homes: dict[str, set[str]] = {}
    for each, split in zip(images, division.splits, strict=True):
        for item in each.items:
            homes.setdefault(item, set()).add(split)
    assert all(len(splits) == 1 for splits in homes.values())


@given(st.integers(1, 200), st.integers(0, 9))
def test_shares_are_met_where_nothing_is_joined(count: int, seed: int) -> None:
    division = divide([image(("a", None))] * count, [], SHARES, "item", seed)
    for split, share in zip(SPLITS, SHARES, strict=True):
        assert abs(division.splits.count(split) - share * count) <= 1.5


def test_groups_stay_together_and_the_division_hangs_on_the_seed_alone() -> None:
    images = [image(("a", None)) for _ in range(60)]
    groups = [(0, 10, 20), (5, 6), (30, 59)]
    made = divide(images, groups, SHARES, "image", 1)
    for group in groups:
        assert len({made.splits[index] for index in group}) == 1
    assert made == divide(images, groups, SHARES, "image", 1)
    assert made != divide(images, groups, SHARES, "image", 2)


def test_classes_are_spread_alike() -> None:
    images = [image(("rare" if number % 10 == 0 else "common", f"item-{number // 2}")) for number in range(200)]
    division = divide(images, [], SHARES, "item", 0)
    rare = Counter(
        split for each, split in zip(images, division.splits, strict=True) if each.objects[0].class_name == "rare"
    )
    assert rare == {"train": 14, "val": 3, "test": 3}


def test_a_chain_of_items_can_not_be_divided_by_item() -> None:
    images = [image(("a", f"item-{number}"), ("a", f"item-{number + 1}")) for number in range(40)]
    with pytest.raises(IndivisibleError, match=r"100% of the 40 images are joined.*--split-by image"):
        divide(images, [], SHARES, "item", 0)
    assert Counter(divide(images, [], SHARES, "image", 0).splits) == {"train": 28, "val": 6, "test": 6}


def test_a_split_that_is_not_asked_for_stays_empty() -> None:
    division = divide([image(("a", None))] * 10, [], (0.8, 0.2, 0.0), "item", 0)
    assert Counter(division.splits) == {"train": 8, "val": 2}


@pytest.mark.parametrize("count", [3, 4, 5])
def test_of_few_images_every_split_gets_one(count: int) -> None:
    assert set(divide([image(("a", None))] * count, [], SHARES, "item", 0).splits) == set(SPLITS)


def test_splits_of_the_export_count_only_if_every_image_has_one() -> None:
    own = image()
    assert kept([own]) is None


def test_an_import_divides_by_item_and_says_what_is_shared_otherwise(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    tasks = tasks_of(folder, range(1, 31))
    for number, each in enumerate(tasks):
        each["data"]["item_id"] = f"mug-{number // 3}"
    export = write(folder / "export.json", tasks)
    homes: dict[str, set[str]] = {}
    for entry in imported(export, tmp_path / "out").images:
        homes.setdefault(entry.objects[0].item_id or "", set()).add(entry.split)
    assert len(homes) == 10
    assert all(len(splits) == 1 for splits in homes.values())
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["splits"]["test"]["known_items"] == 0
    assert report["splits"]["test"]["items"] == len([home for home in homes.values() if home == {"test"}])
    imported(export, tmp_path / "by-image", "--split-by", "image")
    assert "items of train in another split" in (tmp_path / "by-image" / "report.md").read_text()


def test_an_import_that_can_not_be_divided_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    tasks = tasks_of(folder, range(1, 13))
    for each in tasks:
        each["data"]["item_id"] = "mug-1"
    said = refused(write(folder / "export.json", tasks), tmp_path / "out")
    assert "100% of the 12 images are joined by items" in said


def test_photos_without_items_are_divided_as_photos(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    tasks = [each | {"data": {"image": each["data"]["image"]}} for each in tasks_of(folder, range(1, 21))]
    tasks.append(task(99, "1.jpg", annotation(rectangle())))
    made = imported(write(folder / "export.json", tasks), tmp_path / "out", "--split", "60,20,20")
    assert Counter(entry.split for entry in made.images) == {"train": 13, "val": 4, "test": 4}
