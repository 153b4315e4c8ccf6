"""COCO's instances JSON becomes a dataset."""

import math
from pathlib import Path
from typing import Any

import pytest

from semblance.training.dataset.dataset import Dataset
from tests.training.dataset.exports import HEIGHT, WIDTH, imported, photo, refused, write

PHOTO: dict[str, Any] = {"id": 7, "file_name": "images/a.jpg", "width": WIDTH, "height": HEIGHT, "license": 1}
BOX: dict[str, Any] = {"id": 3, "image_id": 7, "category_id": 5, "bbox": [16, 24, 32, 48], "area": 1536, "iscrowd": 0}
MUG: dict[str, Any] = {"id": 5, "name": "mug", "supercategory": "kitchen"}


def export(tmp_path: Path, *annotations: Any, **whole: Any) -> Path:
    photo(tmp_path / "in" / "images" / "a.jpg", 1)
    content = {"images": [PHOTO], "annotations": list(annotations), "categories": [{"id": 2, "name": "card"}, MUG]}
    return write(tmp_path / "in" / "instances.json", content | whole)


def boxes(made: Dataset) -> list[tuple[float, ...]]:
    return [found.box for found in made.images[0].objects]


def test_boxes_and_classes_are_read(tmp_path: Path) -> None:
    made = imported(export(tmp_path, BOX), tmp_path / "out")
    assert made.classes == ("card", "mug")
    assert made.images[0].objects[0].class_name == "mug"
    assert boxes(made) == [pytest.approx((16, 24, 48, 72))]
    assert made.manifest.source["format"] == "coco"


def test_a_folder_with_the_json_is_read(tmp_path: Path) -> None:
    export(tmp_path, BOX)
    assert len(imported(tmp_path / "in", tmp_path / "out").images) == 1


def test_boxes_of_a_larger_copy_are_scaled(tmp_path: Path) -> None:
    larger = PHOTO | {"width": 2 * WIDTH, "height": 2 * HEIGHT}
    assert boxes(imported(export(tmp_path, BOX, images=[larger]), tmp_path / "out")) == [pytest.approx((8, 12, 24, 36))]


def test_crowds_are_left_out_and_said(tmp_path: Path) -> None:
    crowd = BOX | {"id": 4, "iscrowd": 1, "segmentation": {"counts": [3, 4], "size": [HEIGHT, WIDTH]}}
    assert len(boxes(imported(export(tmp_path, BOX, crowd), tmp_path / "out"))) == 1
    assert "crowds" in (tmp_path / "out" / "report.md").read_text()


def test_iscrowd_may_be_missing(tmp_path: Path) -> None:
    plain = {name: value for name, value in BOX.items() if name != "iscrowd"}
    assert len(boxes(imported(export(tmp_path, plain), tmp_path / "out"))) == 1


@pytest.mark.parametrize("bbox", [[], None])
def test_a_segmentation_alone_gives_its_hull(tmp_path: Path, bbox: Any) -> None:
    polygons = [[10, 20, 30, 20, 20, 50], [60, 10, 70, 15, 65, 40]]
    made = imported(export(tmp_path, BOX | {"bbox": bbox, "segmentation": polygons}), tmp_path / "out")
    assert boxes(made) == [pytest.approx((10, 10, 70, 50))]


def test_photos_without_an_object_are_background(tmp_path: Path) -> None:
    assert boxes(imported(export(tmp_path), tmp_path / "out", "--classes", "mug")) == []


@pytest.mark.parametrize("file_name", ["a.jpg", "train2017/a.jpg", "../media/upload/2/0a1b2c3d-a.jpg"])
def test_photos_are_found_below_a_folder(tmp_path: Path, file_name: str) -> None:
    source = export(tmp_path, BOX, images=[PHOTO | {"file_name": file_name}])
    photo(tmp_path / "photos" / "a.jpg", 1)
    assert len(imported(source, tmp_path / "out", "--images", tmp_path / "photos").images) == 1


def lacks(whole: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in whole.items() if name != key}


MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "an image that is not there": (
        {"annotations": [BOX | {"image_id": 8}]},
        "annotation 3, image_id: there is no image 8",
    ),
    "a category that is not there": (
        {"annotations": [BOX | {"category_id": 8}]},
        "annotation 3, category_id: there is no category 8",
    ),
    "two annotations of one id": ({"annotations": [BOX, BOX]}, "annotation 3, id: two have it"),
    "two images of one id": ({"images": [PHOTO, PHOTO]}, "photo 7, id: two have it"),
    "two categories of one id": ({"categories": [MUG, MUG]}, "category 5, id: two have it"),
    "two categories of one name": ({"categories": [MUG, MUG | {"id": 6}]}, "categories: 'mug' is there twice"),
    "no categories": ({"categories": None}, "categories: "),
    "annotations that are an object": ({"annotations": {}}, "annotations: "),
    "an annotation that is a list": ({"annotations": [[]]}, "entry 0 of the annotation list"),
    "an annotation without id": ({"annotations": [lacks(BOX, "id")]}, "entry 0 of the annotation list, id: is missing"),
    "no file name": ({"images": [lacks(PHOTO, "file_name")]}, "image 7, file_name: is missing"),
    "no width": ({"images": [lacks(PHOTO, "width")]}, "image 7, width: is missing"),
    "a height of zero": ({"images": [PHOTO | {"height": 0}]}, "image 7, height: "),
    "three numbers": (
        {"annotations": [BOX | {"bbox": [1, 2, 3]}]},
        "annotation 3, bbox: expected x, y, width and height",
    ),
    "a negative width": ({"annotations": [BOX | {"bbox": [1, 2, -3, 4]}]}, "annotation 3, bbox: expected x, y"),
    "not a number": ({"annotations": [BOX | {"bbox": [1, math.nan, 3, 4]}]}, "annotation 3, bbox[1]: "),
    "a number as text": ({"annotations": [BOX | {"bbox": [1, "2", 3, 4]}]}, "annotation 3, bbox[1]: "),
    "neither box nor outline": ({"annotations": [lacks(BOX, "bbox")]}, "annotation 3, bbox: is missing"),
    "run lengths alone": (
        {"annotations": [lacks(BOX, "bbox") | {"segmentation": {"counts": "abc", "size": [1, 1]}}]},
        "annotation 3, bbox: is missing, and of a segmentation only polygons",
    ),
    "an odd outline": (
        {"annotations": [lacks(BOX, "bbox") | {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}]},
        "annotation 3, segmentation[0]: expected the x and y",
    ),
    "two points": (
        {"annotations": [lacks(BOX, "bbox") | {"segmentation": [[1, 2, 3, 4]]}]},
        "annotation 3, segmentation[0]: expected the x and y",
    ),
    "an outline of words": (
        {"annotations": [lacks(BOX, "bbox") | {"segmentation": [["a", 2, 3, 4, 5, 6]]}]},
        "annotation 3, segmentation[0][0]: ",
    ),
    "an outline that is a text": (
        {"annotations": [lacks(BOX, "bbox") | {"segmentation": "abc"}]},
        "annotation 3, segmentation: ",
    ),
    "a crowd of two": ({"annotations": [BOX | {"iscrowd": 2}]}, "annotation 3, iscrowd: "),
}


@pytest.mark.parametrize(("whole", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_parts_are_named(tmp_path: Path, whole: dict[str, Any], message: str) -> None:
    assert message in refused(export(tmp_path, BOX, **whole), tmp_path / "out", "--leave-out")


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_parts_are_named(tmp_path: Path, key: str) -> None:
    content = lacks({"images": [PHOTO], "annotations": [BOX], "categories": [MUG]}, key)
    source = write(tmp_path / "in" / "instances.json", content)
    assert f"{key}: is missing" in refused(source, tmp_path / "out")


def test_the_kind_can_be_insisted_on(tmp_path: Path) -> None:
    source = export(tmp_path, BOX)
    assert "expected a list of tasks" in refused(source, tmp_path / "out", "--format", "label-studio")
    assert "labels are a folder" in refused(source, tmp_path / "out", "--format", "yolo")
    assert len(imported(source, tmp_path / "out", "--format", "coco").images) == 1
