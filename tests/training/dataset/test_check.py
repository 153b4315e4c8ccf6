"""Photos and boxes are held against each other, and what is found is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from semblance.training.dataset.dataset import Dataset
from tests.training.dataset.exports import (
    annotation,
    contents,
    imported,
    photo,
    picture,
    rectangle,
    refused,
    run_import,
    task,
    tasks_of,
    write,
)


def export_of(tmp_path: Path, *annotations: Any, image: str = "a.jpg") -> Path:
    """Task 17 with these annotations, and a good one."""
    folder = tmp_path / "in"
    for name in ("a", "b"):
        photo(folder / f"{name}.jpg", ord(name))
    tasks = [task(17, image, *annotations), task(18, "b.jpg", annotation(rectangle()))]
    return write(folder / "export.json", tasks)


def findings(folder: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((folder / "report.json").read_text())["findings"]
    return found


def kinds(folder: Path) -> dict[str, str]:
    """The first place of each kind of finding."""
    return {found["kind"]: found["where"] for found in reversed(findings(folder))}


BROKEN_FILES = {
    "no photo": (b"hello", "can't be decoded"),
    "empty": (b"", "can't be decoded"),
    "cut off": (None, "can't be decoded"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_file_that_is_no_photo_is_named_with_its_task(tmp_path: Path, content: bytes | None, message: str) -> None:
    export = export_of(tmp_path, annotation(rectangle()))
    file = tmp_path / "in" / "a.jpg"
    file.write_bytes(file.read_bytes()[:-900] if content is None else content)
    said = refused(export, tmp_path / "out")
    assert "image unreadable" in said
    assert "task 17" in said
    imported(export, tmp_path / "out", "--leave-out")
    assert message in (tmp_path / "out" / "report.md").read_text()


def test_a_missing_photo_refuses_unless_it_may_be_left_out(tmp_path: Path) -> None:
    export = export_of(tmp_path, annotation(rectangle()), image="gone.jpg")
    assert "image missing" in refused(export, tmp_path / "out")
    assert [image.source for image in imported(export, tmp_path / "out", "--leave-out").images] == ["task 18"]
    assert kinds(tmp_path / "out")["image missing"] == "task 17"


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF"])
def test_a_format_that_the_service_does_not_take_is_refused(tmp_path: Path, kind: str) -> None:
    export = export_of(tmp_path, annotation(rectangle()))
    picture(1).save(tmp_path / "in" / "a.jpg", format=kind)
    imported(export, tmp_path / "out", "--leave-out")
    assert f"is {kind}; JPEG, PNG and WebP are taken" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("WEBP", ".webp")])
def test_a_photo_gets_the_suffix_of_its_format(tmp_path: Path, kind: str, suffix: str) -> None:
    export = export_of(tmp_path, annotation(rectangle()))
    picture(1).save(tmp_path / "in" / "a.jpg", format=kind)
    files = [image.file for image in imported(export, tmp_path / "out").images]
    assert [Path(file).suffix for file in files] == [suffix, ".jpg"]


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_a_photo_may_have_any_mode(tmp_path: Path, mode: str) -> None:
    export = export_of(tmp_path, annotation(rectangle()))
    picture(1).convert(mode).save(tmp_path / "in" / "a.jpg", format="JPEG" if mode in ("L", "CMYK") else "PNG")
    assert len(imported(export, tmp_path / "out").images) == 2


def test_a_box_that_sticks_out_a_little_is_cut_and_noted(tmp_path: Path) -> None:
    made = imported(export_of(tmp_path, annotation(rectangle(x=-2))), tmp_path / "out")
    assert made.images[0].objects[0].box == pytest.approx((0, 24, 160 * 0.18, 72))
    assert kinds(tmp_path / "out")["box cut at the image's edge"] == "task 17, annotations[0].result[0]"


def test_a_box_that_sticks_out_much_is_refused(tmp_path: Path) -> None:
    export = export_of(tmp_path, annotation(rectangle(x=90, width=20)))
    assert "box outside the image" in refused(export, tmp_path / "out")
    made = imported(export, tmp_path / "half", "--max-outside", 0.51)
    assert made.images[0].objects[0].box == pytest.approx((144, 24, 160, 72))
    # A photo with an object that nobody marked would teach the detector to overlook it.
    without = imported(export, tmp_path / "out", "--leave-out")
    assert [image.source for image in without.images] == ["task 18"]


@pytest.mark.parametrize("value", [{"x": 1e308, "width": 1e308, "rotation": 30}, {"x": -1e308, "width": 1e308}])
def test_a_box_of_absurd_numbers_is_refused(tmp_path: Path, value: dict[str, Any]) -> None:
    export = export_of(tmp_path, annotation(rectangle(**value)))
    assert "box outside the image" in refused(export, tmp_path / "out", "--max-outside", 1)


def test_a_box_altogether_outside_is_refused_whatever_is_permitted(tmp_path: Path) -> None:
    export = export_of(tmp_path, annotation(rectangle(x=150)))
    assert "box outside the image" in refused(export, tmp_path / "out", "--max-outside", 1)


@pytest.mark.parametrize("value", [{"width": 0}, {"height": 0}, {"width": 0.1, "height": 0.1}])
def test_a_box_without_area_is_left_out_and_said(tmp_path: Path, value: dict[str, Any]) -> None:
    made = imported(export_of(tmp_path, annotation(rectangle(**value), rectangle("r2"))), tmp_path / "out")
    assert len(made.images[0].objects) == 1
    assert kinds(tmp_path / "out")["box without area"] == "task 17, annotations[0].result[0]"


def test_an_unknown_class_refuses_unless_it_may_be_left_out(tmp_path: Path) -> None:
    export = export_of(tmp_path, annotation(rectangle(), rectangle("r2", label="mgu", x=60)))
    assert "unknown class" in refused(export, tmp_path / "out", "--classes", "card,mug")
    made = imported(export, tmp_path / "out", "--classes", "card,mug", "--leave-out")
    assert made.classes == ("card", "mug")
    assert [found.class_name for found in made.images[0].objects] == ["mug"]
    assert (tmp_path / "out" / "labels" / made.images[0].split / "a.txt").read_text().startswith("1 ")
    assert kinds(tmp_path / "out")["unknown class"] == "task 17, annotations[0].result[1]"


def test_classes_with_few_objects_are_said(tmp_path: Path) -> None:
    imported(export_of(tmp_path, annotation(rectangle())), tmp_path / "out")
    assert kinds(tmp_path / "out")["class with few objects"] == "mug"


def test_one_file_for_two_photos_is_refused(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "1.jpg", 1)
    tasks = [
        task(1, "/data/upload/1/00000000-1.jpg", annotation(rectangle())),
        task(2, "/data/upload/1/11111111-1.jpg", annotation(rectangle(x=50))),
    ]
    said = refused(write(tmp_path / "in" / "export.json", tasks), tmp_path / "out")
    assert "one file for two images" in said


def test_like_photos_go_into_one_split_and_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    tasks = tasks_of(folder, range(1, 21))
    for number in range(1, 21):
        tasks[number - 1]["data"].pop("item_id")
    again = picture(3).resize((320, 240))
    again.save(folder / "again.jpg", quality=40)
    (folder / "same.jpg").write_bytes((folder / "5.jpg").read_bytes())
    tasks += [task(21, "again.jpg", annotation(rectangle())), task(22, "same.jpg", annotation(rectangle()))]
    export = write(folder / "export.json", tasks)
    for seed in range(8):
        made = imported(export, tmp_path / "out", "--seed", seed, "--replace")
        splits = {image.source: image.split for image in made.images}
        assert splits["task 3"] == splits["task 21"]
        assert splits["task 5"] == splits["task 22"]
    found = kinds(tmp_path / "out")
    assert found["photos nearly alike"] == "task 3, task 21"
    assert found["the same photo several times"] == "task 5, task 22"
    assert not any("leak" in kind for kind in found)


def test_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    tasks = []
    for number, name in enumerate(("one/a.jpg", "two/a.jpg", "two/A.jpg", "three/a.png")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
        tasks.append(task(number, name, annotation(rectangle())))
    made = imported(write(tmp_path / "in" / "export.json", tasks), tmp_path / "out")
    assert len({Path(image.file).stem.casefold() for image in made.images}) == 4
    for image, name in zip(made.images, ("one/a.jpg", "two/a.jpg", "two/A.jpg", "three/a.png"), strict=True):
        assert made.path(image).read_bytes() == (tmp_path / "in" / name).read_bytes()


def test_a_name_can_not_lead_out_of_the_dataset(tmp_path: Path) -> None:
    name = "..\\..\\x y\n#.jpg"
    photo(tmp_path / "in" / name, 1)
    export = write(tmp_path / "in" / "export.json", [task(1, name, annotation(rectangle()))])
    (image,) = imported(export, tmp_path / "out").images
    assert image.file.startswith(f"images/{image.split}/")
    assert image.file.count("/") == 2
    assert not set(image.file) & set("\\\n #")


def test_a_dataset_is_replaced_only_when_told(tmp_path: Path) -> None:
    export = export_of(tmp_path, annotation(rectangle()))
    imported(export, tmp_path / "out")
    before = contents(tmp_path / "out")
    export_of(tmp_path, annotation(rectangle(x=40)))
    assert "--replace" in refused(export, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    imported(export, tmp_path / "out", "--replace")
    assert Dataset.read(tmp_path / "out").images[0].objects[0].box[0] == pytest.approx(64)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_a_failed_replacement_leaves_the_dataset_that_was(tmp_path: Path) -> None:
    export = export_of(tmp_path, annotation(rectangle()))
    imported(export, tmp_path / "out")
    before = contents(tmp_path / "out")
    write(export, "[")
    refused(export, tmp_path / "out", "--replace")
    assert contents(tmp_path / "out") == before


def test_a_folder_that_is_no_dataset_is_never_replaced(tmp_path: Path) -> None:
    export = export_of(tmp_path, annotation(rectangle()))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    assert "is no dataset" in refused(export, tmp_path / "out", "--replace")


def test_the_report_shows_what_an_export_says_as_text(tmp_path: Path) -> None:
    export = export_of(tmp_path, annotation(rectangle(label="[bold]a|b\nc[/]")))
    said = run_import(export, tmp_path / "out")
    assert said.exit_code == 0, said.output
    assert said.output.count("[bold]a|b") >= 2
    assert all(
        line.startswith(("|", "#", "-")) or "images can be used" in line or not line
        for line in (tmp_path / "out" / "report.md").read_text().splitlines()
    )


@pytest.mark.parametrize(
    "options",
    [
        ("--split", "70,15"),
        ("--split", "70,20,20"),
        ("--split", "a,b,c"),
        ("--split", "nan,50,50"),
        ("--split", "120,-10,-10"),
        ("--classes", "mug,mug"),
        ("--classes", "mug,,card"),
        ("--map", "s3://x"),
        ("--map", "s3://x=nowhere"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = run_import(export_of(tmp_path, annotation(rectangle())), tmp_path / "out", *options)
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_photo_of_very_many_pixels_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = export_of(tmp_path, annotation(rectangle()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "image unreadable" in refused(export, tmp_path / "out")
