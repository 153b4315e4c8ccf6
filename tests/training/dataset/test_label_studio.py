"""Label Studio's JSON export becomes a dataset."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from semblance.training.dataset.dataset import AnnotatedImage, Dataset
from semblance.training.dataset.source import Rectangle
from tests.training.dataset.exports import (
    HEIGHT,
    WIDTH,
    annotation,
    contents,
    imported,
    photo,
    picture,
    rectangle,
    refused,
    run_import,
    task,
    text,
    write,
)


def one(tmp_path: Path, *annotations: Any, **data: Any) -> AnnotatedImage:
    """The image of an export with a single task."""
    photo(tmp_path / "in" / "a.jpg", 1)
    export = write(tmp_path / "in" / "export.json", [task(17, "a.jpg", *annotations, **data)])
    return imported(export, tmp_path / "out").images[0]


def test_a_rectangle_is_in_pixels_of_the_photo(tmp_path: Path) -> None:
    image = one(tmp_path, annotation(rectangle()))
    assert (image.width, image.height, image.source) == (WIDTH, HEIGHT, "task 17")
    (found,) = image.objects
    assert found.class_name == "mug"
    assert found.box == pytest.approx((16, 24, 48, 72))
    assert (found.item_id, found.polygon) == (None, None)
    written = tmp_path / "out" / image.file
    assert written.read_bytes() == (tmp_path / "in" / "a.jpg").read_bytes()
    assert image.sha256 == hashlib.sha256(written.read_bytes()).hexdigest()
    label = (tmp_path / "out" / "labels" / image.split / "a.txt").read_text()
    assert label == "0 0.200000 0.400000 0.200000 0.400000\n"


def test_a_turned_rectangle_keeps_its_corners_and_has_their_hull_as_box(tmp_path: Path) -> None:
    # 32 × 48 pixels about the corner (80, 24), 30 degrees clockwise: pixels, in which both axes are alike.
    (found,) = one(tmp_path, annotation(rectangle(x=50, y=20, width=20, height=40, rotation=30))).objects
    cos, sin = math.sqrt(3) / 2, 0.5
    expected = [(80, 24), (80 + 32 * cos, 24 + 32 * sin), (80 + 32 * cos - 48 * sin, 24 + 32 * sin + 48 * cos)]
    expected.append((80 - 48 * sin, 24 + 48 * cos))
    assert found.polygon is not None
    for corner, right in zip(found.polygon, expected, strict=True):
        assert corner == pytest.approx(right)
    assert found.box == pytest.approx((80 - 24, 24, 80 + 32 * cos, 24 + 16 + 48 * cos))


@given(st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(-720, 720))
def test_turning_keeps_the_corner_and_the_sides(x: float, y: float, width: float, height: float, turn: float) -> None:
    corners = Rectangle(x, y, width, height, turn).corners(400, 300)
    assert corners[0] == pytest.approx((x * 400, y * 300))
    assert math.dist(corners[0], corners[1]) == pytest.approx(width * 400)
    assert math.dist(corners[1], corners[2]) == pytest.approx(height * 300)
    assert math.dist(corners[0], corners[2]) == pytest.approx(math.hypot(width * 400, height * 300))


@pytest.mark.parametrize(("turn", "box"), [(90, (32, 24, 80, 56)), (180, (48, -24, 80, 24)), (-90, (80, -8, 128, 24))])
def test_a_quarter_turn_is_an_upright_box(turn: float, box: tuple[float, ...]) -> None:
    corners = Rectangle(0.5, 0.2, 0.2, 0.4, turn).corners(WIDTH, HEIGHT)
    xs, ys = zip(*corners, strict=True)
    assert (min(xs), min(ys), max(xs), max(ys)) == pytest.approx(box)


def test_an_annotation_of_a_photo_on_its_side_is_of_the_upright_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    (tmp_path / "in").mkdir()
    picture(1).save(tmp_path / "in" / "a.jpg", exif=exif)
    region = rectangle() | {"original_width": HEIGHT, "original_height": WIDTH}
    export = write(tmp_path / "in" / "export.json", [task(1, "a.jpg", annotation(region))])
    (image,) = imported(export, tmp_path / "out").images
    assert (image.width, image.height) == (HEIGHT, WIDTH)
    assert image.objects[0].box == pytest.approx((12, 32, 36, 96))


def test_boxes_of_a_photo_that_was_annotated_lying_are_refused(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.jpg", 1)
    region = rectangle() | {"original_width": HEIGHT, "original_height": WIDTH}
    export = write(tmp_path / "in" / "export.json", [task(1, "a.jpg", annotation(region))])
    assert "another shape" in refused(export, tmp_path / "out")


def test_a_region_with_several_labels_is_an_object_of_each(tmp_path: Path) -> None:
    image = one(tmp_path, annotation(rectangle(label=["mug", "chipped"])))
    assert [found.class_name for found in image.objects] == ["mug", "chipped"]
    assert len({found.box for found in image.objects}) == 1
    assert "regions with several labels" in (tmp_path / "out" / "report.md").read_text()


def test_a_rectangle_and_its_labels_may_be_two_results(tmp_path: Path) -> None:
    place = rectangle()["value"]
    drawn = {"id": "r1", "type": "rectangle", "from_name": "box", "to_name": "image", "value": place}
    named = {
        "id": "r1",
        "type": "labels",
        "from_name": "label",
        "to_name": "image",
        "value": place | {"labels": ["mug"]},
    }
    drawn["value"] = {name: value for name, value in place.items() if name != "rectanglelabels"}
    named["value"] = {name: value for name, value in named["value"].items() if name != "rectanglelabels"}
    (found,) = one(tmp_path, annotation(drawn, named)).objects
    assert found.class_name == "mug"


ITEMS = {
    "text": (text("r1", "mug-3"),),
    "choices": (
        {"id": "r1", "type": "choices", "from_name": "item", "to_name": "image", "value": {"choices": ["mug-3"]}},
    ),
    "text of the region, not of the task": (text("r1", "mug-3"), text("r2", "mug-4")),
}


@pytest.mark.parametrize("results", ITEMS.values(), ids=ITEMS)
def test_a_region_says_which_item_it_is(tmp_path: Path, results: tuple[Any, ...]) -> None:
    image = one(tmp_path, annotation(rectangle(), *results), item_id="mug-9")
    assert image.objects[0].item_id == "mug-3"


def test_a_note_of_the_region_says_which_item_it_is(tmp_path: Path) -> None:
    image = one(tmp_path, annotation(rectangle() | {"meta": {"text": ["mug-3"]}}))
    assert image.objects[0].item_id == "mug-3"


def test_a_text_of_another_name_is_no_item(tmp_path: Path) -> None:
    image = one(tmp_path, annotation(rectangle(), text("r1", "nice", name="comment")))
    assert image.objects[0].item_id is None


@pytest.mark.parametrize(("given_id", "item"), [("mug-9", "mug-9"), (9, "9"), ("", None), (None, None)])
def test_a_task_says_which_item_its_regions_are(tmp_path: Path, given_id: Any, item: str | None) -> None:
    image = one(tmp_path, annotation(rectangle(), rectangle("r2", x=50)), item_id=given_id)
    assert [found.item_id for found in image.objects] == [item, item]


def test_skipped_and_unannotated_tasks_are_left_out_and_empty_ones_are_background(tmp_path: Path) -> None:
    for number in range(1, 5):
        photo(tmp_path / "in" / f"{number}.jpg", number)
    tasks = [
        task(1, "1.jpg", annotation(rectangle())),
        task(2, "2.jpg", annotation(rectangle(), was_cancelled=True)),
        task(3, "3.jpg"),
        task(4, "4.jpg", annotation()),
    ]
    made = imported(write(tmp_path / "in" / "export.json", tasks), tmp_path / "out")
    assert [(image.source, len(image.objects)) for image in made.images] == [("task 1", 1), ("task 4", 0)]
    report = (tmp_path / "out" / "report.md").read_text()
    for words in ("skipped (cancelled)", "nobody has annotated", "as background"):
        assert words in report


COUNTED = {
    "the one updated last": (
        [annotation(rectangle(label="new"), updated_at="2026-02-01T00:00:00.5Z")],
        [annotation(rectangle(label="old"), updated_at="2026-01-01T00:00:00Z")],
    ),
    "the ground truth": (
        [annotation(rectangle(label="new"), ground_truth=True, updated_at="2026-01-01T00:00:00Z")],
        [annotation(rectangle(label="old"), updated_at="2026-02-01T00:00:00Z")],
    ),
    "one that is not cancelled": (
        [annotation(rectangle(label="new"), updated_at="2026-01-01T00:00:00Z")],
        [annotation(rectangle(label="old"), was_cancelled=True, updated_at="2026-02-01T00:00:00Z")],
    ),
}


@pytest.mark.parametrize(("winner", "loser"), COUNTED.values(), ids=COUNTED)
@pytest.mark.parametrize("turned", [False, True])
def test_of_several_annotations_counts(tmp_path: Path, winner: list[Any], loser: list[Any], turned: bool) -> None:
    image = one(tmp_path, *(winner + loser if turned else loser + winner))
    assert [found.class_name for found in image.objects] == ["new"]


LOCATED = {
    "relative to the export": ("in/shop/a.jpg", "shop/a.jpg", ()),
    "by upload name with its digits": ("in/0a1b2c3d-a.jpg", "/data/upload/1/0a1b2c3d-a.jpg", ()),
    "by upload name without them": ("photos/a.jpg", "/data/upload/1/0a1b2c3d-a.jpg", ("--images", "photos")),
    "beside, in images": ("in/images/a.jpg", "a.jpg", ()),
    "local files": ("photos/shelf/a b.jpg", "/data/local-files/?d=photos/shelf/a%20b.jpg", ("--images", "photos")),
    "by prefix": (
        "photos/2026/a b.jpg",
        "https://shop.example/p/2026/a%20b.jpg?v=3",
        ("--map", "https://shop.example/p/=photos"),
    ),
    "by the longest prefix": (
        "photos/a.jpg",
        "s3://shop/new/a.jpg",
        ("--map", "s3://shop/=in", "--map", "s3://shop/new=photos"),
    ),
    "by an address's path": ("photos/new/a.jpg", "s3://shop/new/a.jpg", ("--images", "photos")),
    "with a backslash": ("in/shop/a.jpg", "shop\\a.jpg", ()),
    "with an odd name": ("in/a?b=c#d.jpg", "a?b=c#d.jpg", ()),
}


@pytest.mark.parametrize(("file", "reference", "options"), LOCATED.values(), ids=LOCATED)
def test_photos_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, reference: str, options: tuple[str, ...]
) -> None:
    for folder in ("in", "photos"):
        (tmp_path / folder).mkdir()
    wanted = photo(tmp_path / file, 1)
    monkeypatch.chdir(tmp_path)
    export = write(tmp_path / "in" / "export.json", [task(1, reference, annotation(rectangle()))])
    made = imported(export, tmp_path / "out", *options)
    assert made.path(made.images[0]).read_bytes() == wanted.read_bytes()


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    wanted = photo(tmp_path / "elsewhere" / "a.jpg", 1)
    export = write(tmp_path / "in" / "export.json", [task(1, str(wanted), annotation(rectangle()))])
    assert len(imported(export, tmp_path / "out").images) == 1


@pytest.mark.parametrize("data", [{"photo": "a.jpg", "note": "nice"}, {"image": "a.jpg", "before": "b.jpg"}])
def test_the_photo_may_be_under_another_key(tmp_path: Path, data: dict[str, str]) -> None:
    photo(tmp_path / "in" / "a.jpg", 1)
    tasks = [{"id": 1, "data": data, "annotations": [annotation(rectangle())]}]
    assert len(imported(write(tmp_path / "in" / "export.json", tasks), tmp_path / "out").images) == 1


def test_the_same_export_gives_the_same_bytes(tmp_path: Path) -> None:
    tasks = [
        task(number, photo(tmp_path / "in" / f"{number}.jpg", number).name, annotation(rectangle()), item_id=number)
        for number in range(1, 13)
    ]
    export = write(tmp_path / "in" / "export.json", tasks)
    for name in ("out", "again"):
        imported(export, tmp_path / name, "--seed", 3)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
    imported(export, tmp_path / "other", "--seed", 4)

    def splits(folder: Path) -> list[str]:
        return [image.split for image in Dataset.read(folder).images]

    assert splits(tmp_path / "other") != splits(tmp_path / "out")


R = "annotations[0].result[0]"


def changed(**fields: Any) -> dict[str, Any]:
    return annotation(rectangle() | fields)


def without(key: str, of: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in of.items() if name != key}


WRONG_PLACES = {
    "text for a number": ({"x": "ten"}, "x"),
    "a number as text": ({"width": "20"}, "width"),
    "null": ({"y": None}, "y"),
    "true": ({"x": True}, "x"),
    "not a number": ({"width": math.nan}, "width"),
    "infinite": ({"height": math.inf}, "height"),
    "negative": ({"width": -3}, "width"),
    "a list": ({"rotation": [0]}, "rotation"),
    "labels as text": ({"rectanglelabels": "mug"}, "rectanglelabels"),
    "no label in the list": ({"rectanglelabels": []}, "rectanglelabels"),
    "an empty label": ({"rectanglelabels": [""]}, "rectanglelabels[0]"),
    "a number as label": ({"rectanglelabels": [3]}, "rectanglelabels[0]"),
}


@pytest.mark.parametrize(("value", "field"), WRONG_PLACES.values(), ids=WRONG_PLACES)
def test_a_wrong_place_is_named(tmp_path: Path, value: dict[str, Any], field: str) -> None:
    photo(tmp_path / "in" / "a.jpg", 1)
    tasks = [task(17, "a.jpg", annotation(rectangle() | {"value": rectangle()["value"] | value}))]
    export = write(tmp_path / "in" / "export.json", tasks)
    assert f"task 17, {R}.value.{field}: " in refused(export, tmp_path / "out")


@pytest.mark.parametrize("key", ["x", "y", "width", "height"])
def test_a_missing_place_is_named(tmp_path: Path, key: str) -> None:
    photo(tmp_path / "in" / "a.jpg", 1)
    region = rectangle() | {"value": without(key, rectangle()["value"])}
    export = write(tmp_path / "in" / "export.json", [task(17, "a.jpg", annotation(region))])
    assert f"task 17, {R}.value.{key}: is missing" in refused(export, tmp_path / "out")


GOOD = task(17, "a.jpg", annotation(rectangle()))
MALFORMED: dict[str, tuple[Any, str]] = {
    "no data": (without("data", GOOD), "task 17, data: is missing"),
    "no annotations": (without("annotations", GOOD), "task 17, annotations: is missing"),
    "no id": (without("id", GOOD), "entry 0 of the list of tasks, id: is missing"),
    "id as text": (GOOD | {"id": "17"}, "id: "),
    "a task that is a text": ("a.jpg", "entry 0 of the list of tasks"),
    "data that is a text": (GOOD | {"data": "a.jpg"}, "task 17, data: "),
    "annotations that are an object": (GOOD | {"annotations": {}}, "task 17, annotations: "),
    "an annotation that is null": (GOOD | {"annotations": [None]}, "task 17, annotations[0]: "),
    "no result": (task(17, "a.jpg", without("result", annotation())), "task 17, annotations[0].result: is missing"),
    "a result that is a text": (task(17, "a.jpg", annotation("mug")), f"task 17, {R}: "),
    "no type": (task(17, "a.jpg", annotation(without("type", rectangle()))), f"task 17, {R}.type: is missing"),
    "a value that is a list": (task(17, "a.jpg", changed(value=[1])), f"task 17, {R}.value: "),
    "no value": (task(17, "a.jpg", annotation(without("value", rectangle()))), f"task 17, {R}.value.x: is missing"),
    "a size of zero": (task(17, "a.jpg", changed(original_width=0)), f"task 17, {R}.original_width: "),
    "a cancelled that is a text": (task(17, "a.jpg", annotation(was_cancelled="no")), "annotations[0].was_cancelled: "),
    "a time that is none": (task(17, "a.jpg", annotation(updated_at="soon")), "task 17, annotations[0].updated_at: "),
    "an image that is a number": (GOOD | {"data": {"image": 3}}, "task 17, data.image: "),
    "no image": (GOOD | {"data": {"text": "hello"}}, "task 17, data: expected the image's path"),
    "two images": (GOOD | {"data": {"one": "a.jpg", "two": "b.jpg"}}, "task 17, data: expected the image's path"),
    "an item that is a list": (task(17, "a.jpg", annotation(rectangle()), item_id=["m"]), "task 17, data.item_id: "),
    "two items of a region": (
        task(17, "a.jpg", annotation(rectangle(), text("r1", "m", "n"))),
        "task 17, annotations[0].result[1].value: expected the id of one item",
    ),
    "regions of two images": (
        task(17, "a.jpg", annotation(rectangle(), rectangle("r2") | {"to_name": "other"})),
        "task 17, annotations[0].result: regions of several images",
    ),
}


@pytest.mark.parametrize(("broken", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_task_is_named(tmp_path: Path, broken: Any, message: str) -> None:
    for name in ("a", "b"):
        photo(tmp_path / "in" / f"{name}.jpg", ord(name))
    good = task(2, "b.jpg", annotation(rectangle()))
    export = write(tmp_path / "in" / "export.json", [broken, good])
    assert message in refused(export, tmp_path / "out", "--leave-out")


def test_two_tasks_of_one_id_are_refused(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.jpg", 1)
    export = write(tmp_path / "in" / "export.json", [GOOD, GOOD])
    assert "task 17, id: entries 0 and 1 of the list both have it" in refused(export, tmp_path / "out")


WHOLES = {
    "not JSON": ("id,image\n1,a.jpg\n", "is no JSON"),
    "cut off": ('[{"id": 17, "data": {', "is no JSON"),
    "empty": ("", "is no JSON"),
    "a number": ("3", "no export that is read"),
    "an object of something": ('{"tasks": []}', "no export that is read"),
    "nested too deeply": ("[" * 100_000, "nested too deeply"),
    "JSON-MIN": ('[{"id": 1, "image": "a.jpg", "label": []}]', "JSON-MIN"),
    "no task": ("[]", "no annotated photo"),
}


@pytest.mark.parametrize(("content", "message"), WHOLES.values(), ids=WHOLES)
def test_what_is_no_export_is_refused(tmp_path: Path, content: str, message: str) -> None:
    assert message in refused(write(tmp_path / "in" / "export.json", content), tmp_path / "out")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(b"\xff\xfe\x00[1]\x80")
    assert "no text in UTF-8" in refused(tmp_path / "export.json", tmp_path / "out")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (rectangle() | {"type": "polygonlabels"}, "'polygonlabels' is no rectangle"),
        (rectangle() | {"image_rotation": 90}, "was turned in the editor"),
        (rectangle() | {"value": without("rectanglelabels", rectangle()["value"])}, "has no label"),
    ],
)
def test_regions_that_can_not_be_used_are_an_error_that_may_be_left_out(
    tmp_path: Path, result: Any, message: str
) -> None:
    for name in ("a", "b"):
        photo(tmp_path / "in" / f"{name}.jpg", ord(name))
    tasks = [task(17, "a.jpg", annotation(result)), task(18, "b.jpg", annotation(rectangle()))]
    export = write(tmp_path / "in" / "export.json", tasks)
    assert "annotations of no use" in refused(export, tmp_path / "out")
    made = imported(export, tmp_path / "out", "--leave-out")
    assert [image.source for image in made.images] == ["task 18"]
    assert f"{R}: " in (report := (tmp_path / "out" / "report.md").read_text())
    assert message in report


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats()
    | st.sampled_from(["", "a.jpg", "mug", "rectanglelabels"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "type", "value", "result", "x", "text", "image"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.sampled_from(["task", "data", "annotations", "annotation", "result", "value"]), JSON)
def test_whatever_stands_in_an_export_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: str, junk: Any
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    photo(folder / "a.jpg", 1)
    broken: Any = {
        "task": junk,
        "data": GOOD | {"data": junk},
        "annotations": GOOD | {"annotations": junk},
        "annotation": task(17, "a.jpg", junk),
        "result": task(17, "a.jpg", annotation(junk)),
        "value": task(17, "a.jpg", changed(value=junk)),
    }[place]
    result = run_import(write(folder / "export.json", [broken]), folder / "out")
    assert result.exit_code in (0, 1)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert (folder / "out").exists() == (result.exit_code == 0)
