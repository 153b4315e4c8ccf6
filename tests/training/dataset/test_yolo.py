"""YOLO folders, Label Studio's and Ultralytics', become a dataset."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from semblance.training.dataset.dataset import Dataset
from tests.training.dataset.exports import imported, photo, refused, run_import, write

LINE = "1 0.2 0.4 0.2 0.4\n"


def label_studio(folder: Path, line: str = LINE, classes: str = "card\nmug\n", notes: Any = None) -> Path:
    """Label Studio's export with images."""
    photo(folder / "images" / "0a1b2c3d-a.jpg", 1)
    write(folder / "labels" / "0a1b2c3d-a.txt", line)
    write(folder / "classes.txt", classes)
    if notes is None:
        notes = {"categories": [{"id": 0, "name": "card"}, {"id": 1, "name": "mug"}], "info": {"contributor": "L"}}
    write(folder / "notes.json", notes)
    return folder


def ultralytics(folder: Path, splits: dict[str, int], **data: Any) -> Path:
    """A folder with so many photos in each split, each with a mug."""
    seed = 0
    for split, count in splits.items():
        for number in range(count):
            seed += 1
            photo(folder / "images" / split / f"{number}.jpg", seed)
            write(folder / "labels" / split / f"{number}.txt", LINE)
    whole = {split: f"images/{split}" for split in splits} | {"names": {0: "card", 1: "mug"}} | data
    write(folder / "data.yaml", yaml.safe_dump(whole))
    return folder


def packed(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(folder.rglob("*")):
            zipped.write(path, path.relative_to(folder))
    return archive


@pytest.mark.parametrize("zipped", [False, True])
def test_label_studios_export_is_read(tmp_path: Path, zipped: bool) -> None:
    source = label_studio(tmp_path / "in")
    made = imported(packed(source, tmp_path / "in.zip") if zipped else source, tmp_path / "out")
    assert made.classes == ("card", "mug")
    (found,) = made.images[0].objects
    assert found.class_name == "mug"
    assert found.box == pytest.approx((16, 24, 48, 72))
    assert made.manifest.source["format"] == "yolo"


def test_an_archive_may_hold_one_folder_with_everything(tmp_path: Path) -> None:
    label_studio(tmp_path / "in" / "project-1")
    assert len(imported(packed(tmp_path / "in", tmp_path / "in.zip"), tmp_path / "out").images) == 1


@pytest.mark.parametrize("name", ["0a1b2c3d-a.jpg", "a.jpg", "a.PNG"])
def test_an_export_without_photos_finds_them_by_stem(tmp_path: Path, name: str) -> None:
    source = label_studio(tmp_path / "in")
    (source / "images" / "0a1b2c3d-a.jpg").unlink()
    photo(tmp_path / "photos" / name, 1)
    made = imported(source, tmp_path / "out", "--images", tmp_path / "photos")
    assert len(made.images[0].objects) == 1


def test_a_label_file_without_a_photo_is_said(tmp_path: Path) -> None:
    source = label_studio(tmp_path / "in")
    write(source / "labels" / "b.txt", LINE)
    assert "image missing" in refused(source, tmp_path / "out")
    assert len(imported(source, tmp_path / "out", "--leave-out").images) == 1


def test_corners_of_a_turned_rectangle_are_kept(tmp_path: Path) -> None:
    source = label_studio(tmp_path / "in", "0 0.5 0.2 0.7 0.4 0.5 0.6 0.3 0.4\n")
    (found,) = imported(source, tmp_path / "out").images[0].objects
    assert found.box == pytest.approx((48, 24, 112, 72))
    assert found.polygon is not None
    assert found.polygon[0] == pytest.approx((80, 24))


def test_upright_corners_and_outlines_are_boxes(tmp_path: Path) -> None:
    lines = "0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6\n1 0.1 0.2 0.3 0.2 0.3 0.6 0.2 0.7 0.1 0.6\n"
    objects = imported(label_studio(tmp_path / "in", lines), tmp_path / "out").images[0].objects
    assert [found.polygon for found in objects] == [None, None]
    assert objects[0].box == pytest.approx((16, 24, 48, 72))
    assert objects[1].box == pytest.approx((16, 24, 48, 84))


def test_splits_of_the_source_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    source = ultralytics(tmp_path / "in", {"train": 6, "val": 3, "test": 1})
    made = imported(source, tmp_path / "out")
    assert [len(made.split(split)) for split in ("train", "val", "test")] == [6, 3, 1]
    anew = imported(source, tmp_path / "anew", "--split", "50,30,20")
    assert [len(anew.split(split)) for split in ("train", "val", "test")] == [5, 3, 2]


def test_leakage_in_the_splits_of_the_source_is_said(tmp_path: Path) -> None:
    source = ultralytics(tmp_path / "in", {"train": 3, "val": 2})
    photo(source / "images" / "val" / "1.jpg", 2, quality=30)
    imported(source, tmp_path / "out")
    report = (tmp_path / "out" / "report.md").read_text()
    assert "leak: like photos in several splits" in report
    assert "in train and val" in report


@pytest.mark.parametrize(
    "data",
    [
        {"names": ["card", "mug"]},
        {"path": "."},
        {"path": "/nowhere/datasets/mugs"},
        {"train": ["images/train"]},
        {"train": "../images/train"},
        {"train": "train.txt"},
        {"nc": 2, "roboflow": {"license": "MIT"}},
    ],
)
def test_data_yaml_is_read_in_its_variants(tmp_path: Path, data: dict[str, Any]) -> None:
    source = ultralytics(tmp_path / "in", {"train": 2, "val": 1}, **data)
    write(source / "train.txt", "./images/train/0.jpg\n./images/train/1.jpg\n")
    made = imported(source, tmp_path / "out")
    assert made.classes == ("card", "mug")
    assert [len(image.objects) for image in made.images] == [1, 1, 1]


def test_photos_without_labels_are_background(tmp_path: Path) -> None:
    source = ultralytics(tmp_path / "in", {"train": 2, "val": 1})
    (source / "labels" / "train" / "0.txt").unlink()
    write(source / "labels" / "train" / "1.txt", "\n")
    assert [len(image.objects) for image in imported(source, tmp_path / "out").images] == [0, 0, 1]


def test_a_dataset_can_be_imported_again(tmp_path: Path) -> None:
    first = imported(ultralytics(tmp_path / "in", {"train": 3, "val": 2}), tmp_path / "out")
    again = imported(tmp_path / "out", tmp_path / "again")
    assert [(i.sha256, i.split, i.objects) for i in again.images] == [
        (i.sha256, i.split, i.objects) for i in first.images
    ]


LINES = {
    "three numbers": ("1 0.2 0.4 0.2", "a class and 3 numbers"),
    "five numbers, as predictions have": ("1 0.2 0.4 0.2 0.4 0.9", "a class and 5 numbers"),
    "an odd outline": ("1 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "a class and 7 numbers"),
    "a class alone": ("1", "a class and 0 numbers"),
    "a word": ("1 0.2 left 0.2 0.4", "expected a class number and numbers"),
    "a name for the class": ("mug 0.2 0.4 0.2 0.4", "expected a class number and numbers"),
    "a class with a point": ("1.0 0.2 0.4 0.2 0.4", "expected a class number and numbers"),
    "a class too large": ("2 0.2 0.4 0.2 0.4", "class 2, but there are 2 classes, 0 to 1"),
    "a class below zero": ("-1 0.2 0.4 0.2 0.4", "class -1, but there are 2 classes"),
    "not a number": ("1 0.2 nan 0.2 0.4", "'1 0.2 nan 0.2 0.4' has a number that is not finite"),
    "infinite": ("1 0.2 0.4 inf 0.4", "'1 0.2 0.4 inf 0.4' has a number that is not finite"),
    "negative": ("1 0.2 0.4 -0.2 0.4", "width and height are -0.2 and 0.4; neither may be negative"),
    "commas": ("1,0.2,0.4,0.2,0.4", "expected a class number and numbers"),
}


@pytest.mark.parametrize(("line", "message"), LINES.values(), ids=LINES)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    source = label_studio(tmp_path / "in", f"{LINE}\n{line}\n")
    said = refused(source, tmp_path / "out", "--leave-out")
    assert f"labels/0a1b2c3d-a.txt, line 3: {message}" in said


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_whatever_stands_in_a_label_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, line: str
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    result = run_import(label_studio(folder / "in", line), folder / "out")
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert (folder / "out").exists() == (result.exit_code == 0)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    source = label_studio(tmp_path / "in")
    (source / "labels" / "0a1b2c3d-a.txt").write_bytes(b"\xff\xd8\xff")
    assert "can't be read as text" in refused(source, tmp_path / "out")


CLASSES = {
    "none": ({"classes": ""}, "classes.txt: expected the name of a class"),
    "an empty line": ({"classes": "card\n\nmug\n"}, "classes.txt: expected the name of a class"),
    "twice": ({"classes": "mug\nmug\n"}, "classes.txt: 'mug' is there twice"),
    "others than in the notes": ({"classes": "mug\ncard\n"}, "notes.json, categories: "),
    "notes that are no JSON": ({"notes": "{"}, "notes.json is no JSON"),
    "notes without categories": ({"notes": {"info": {}}}, "notes.json, categories: is missing"),
    "notes with a text as id": (
        {"notes": {"categories": [{"id": "0", "name": "card"}]}},
        "notes.json, categories[0].id: ",
    ),
}


@pytest.mark.parametrize(("broken", "message"), CLASSES.values(), ids=CLASSES)
def test_malformed_classes_are_named(tmp_path: Path, broken: dict[str, Any], message: str) -> None:
    assert message in refused(label_studio(tmp_path / "in", **broken), tmp_path / "out")


DATA = {
    "no YAML": ("names: [", "data.yaml is no YAML"),
    "a list": ("- train\n", "data.yaml: "),
    "nothing": ("", "data.yaml: "),
    "no names": ("train: images/train\n", "data.yaml, names: is missing"),
    "no class": ("names: []\ntrain: images/train\n", "data.yaml, names: expected classes"),
    "numbers with a gap": ("names: {0: card, 2: mug}\ntrain: images/train\n", "data.yaml, names: expected classes"),
    "names that are numbers": ("names: [1, 2]\ntrain: images/train\n", "data.yaml, names[0]: "),
    "a class twice": ("names: [mug, mug]\ntrain: images/train\n", "data.yaml, names: 'mug' is there twice"),
    "a folder that is not there": ("names: [card, mug]\ntrain: pictures\n", "data.yaml, train: pictures is not there"),
    "a number for a folder": ("names: [card, mug]\ntrain: 3\n", "data.yaml, train: "),
    "no folder": ("names: [card, mug]\n", "has neither photos nor label files"),
    "an object of another language": ("!!python/object/apply:os.getcwd []", "data.yaml is no YAML"),
}


@pytest.mark.parametrize(("content", "message"), DATA.values(), ids=DATA)
def test_malformed_data_is_named(tmp_path: Path, content: str, message: str) -> None:
    source = ultralytics(tmp_path / "in", {"train": 1})
    write(source / "data.yaml", content)
    assert message in refused(source, tmp_path / "out")


def test_two_photos_of_one_label_file_are_refused(tmp_path: Path) -> None:
    source = label_studio(tmp_path / "in")
    photo(source / "images" / "0a1b2c3d-a.png", 2)
    assert "have one label file" in refused(source, tmp_path / "out")


def test_a_cut_off_archive_is_refused(tmp_path: Path) -> None:
    archive = packed(label_studio(tmp_path / "in"), tmp_path / "in.zip")
    archive.write_bytes(archive.read_bytes()[:-200])
    assert "is no whole zip archive" in refused(archive, tmp_path / "out")


def test_an_archive_with_a_damaged_entry_is_refused(tmp_path: Path) -> None:
    archive = packed(label_studio(tmp_path / "in"), tmp_path / "in.zip")
    with zipfile.ZipFile(archive) as zipped:
        entry = next(entry for entry in zipped.infolist() if entry.filename.endswith(".jpg"))
    content = bytearray(archive.read_bytes())
    middle = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    content[middle : middle + 20] = bytes(20)
    archive.write_bytes(content)
    assert "can't be unpacked" in refused(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["../evil.txt", "labels/../../evil.txt", "/evil.txt", "..\\evil.txt"])
def test_an_archive_that_points_out_of_itself_is_refused(tmp_path: Path, name: str) -> None:
    archive = packed(label_studio(tmp_path / "in"), tmp_path / "in.zip")
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr(name, "boo")
    assert "points out of the archive" in refused(archive, tmp_path / "out")


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    archive = packed(label_studio(tmp_path / "in"), tmp_path / "in.zip")
    link = zipfile.ZipInfo("labels/link.txt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr(link, "/etc/passwd")
    assert "is a link" in refused(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["label-studio", "coco", "yolo", None])
def test_an_empty_folder_is_refused(tmp_path: Path, kind: str | None) -> None:
    (tmp_path / "in").mkdir()
    options = ("--format", kind) if kind else ()
    assert "has n" in refused(tmp_path / "in", tmp_path / "out", *options)


def test_a_folder_with_two_exports_is_refused(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write(tmp_path / "in" / name, json.dumps([]))
    assert "a.json, b.json: name the file to read" in refused(tmp_path / "in", tmp_path / "out")


def test_the_manifest_says_what_it_was_made_from(tmp_path: Path) -> None:
    source = label_studio(tmp_path / "in")
    first = imported(source, tmp_path / "out").manifest.source
    write(source / "labels" / "0a1b2c3d-a.txt", LINE.replace("0.2", "0.3"))
    second = Dataset.read(tmp_path / "out").manifest.source
    assert first == second
    assert imported(source, tmp_path / "other").manifest.source["sha256"] != first["sha256"]
    assert (first["name"], first["split"]) == ("in", "70,15,15 by item, seed 0")
