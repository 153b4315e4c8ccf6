"""Photos become Label Studio tasks with what the service detects drawn already."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from semblance.client import Box, Client, InvalidImageError, NewItem, OverloadedError
from semblance.client.commands.group import semblance
from semblance.client.testing import FakeSemblance, SeenObject
from semblance.training.dataset import project
from semblance.training.dataset.labelling import configuration
from semblance.training.dataset.project import KEY_VARIABLE
from tests.training.dataset.exports import imported, photo, write
from tests.training.dataset.labels import LEGACY, PERSONAL, PROJECT, LabelStudio, serving

MUG = SeenObject(Box(16, 24, 48, 72), "mug", 0.8, similar={"mug-1": 0.9})
CARD = SeenObject(Box(80, 60, 160, 120), "card", 0.4)

SUGGEST = ("--suggest-items", "--min-similarity", 0.5)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos: a mug and a card, a mug, nothing."""
    for number, name in enumerate(("a b.jpg", "shelf/b.jpg", "c.jpg")):
        photo(tmp_path / "photos" / name, number)
    photo(tmp_path / "photos" / ".hidden" / "d.jpg", 9)
    write(tmp_path / "photos" / "notes.txt", "hello")
    return tmp_path / "photos"


@pytest.fixture
def service(photos: Path) -> Iterator[FakeSemblance]:
    with FakeSemblance() as fake:
        with Client(fake.target) as client:
            client.put_item(NewItem("mug-1", [photo(photos.parent / "mug.jpg", 50)]))
        fake.shows((photos / "a b.jpg").read_bytes(), [MUG, CARD])
        fake.shows((photos / "shelf" / "b.jpg").read_bytes(), [MUG])
        yield fake


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[LabelStudio]:
    monkeypatch.setenv(KEY_VARIABLE, PERSONAL)
    with serving(configuration(["mug", "card"])) as running:
        yield running


def push(service: FakeSemblance, *arguments: object) -> Result:
    given = ["dataset", "push", *arguments, "--target", service.target]
    return CliRunner().invoke(semblance, [str(argument) for argument in given])


def into(studio: LabelStudio, number: int = PROJECT) -> tuple[object, ...]:
    return "--url", studio.url, "--project", number


def regions(task: dict[str, Any], kind: str = "rectanglelabels") -> list[dict[str, Any]]:
    return [region for made in task.get("predictions", ()) for region in made["result"] if region["type"] == kind]


def test_a_file_of_tasks_holds_what_was_detected(photos: Path, service: FakeSemblance, tmp_path: Path) -> None:
    output = tmp_path / "tasks.json"
    result = push(service, photos, "--output", output, "--image-url", "/data/local-files/?d=shop/")
    assert result.exit_code == 0, result.output
    first, nothing, second = json.loads(output.read_text())
    assert first["data"]["image"] == "/data/local-files/?d=shop/a%20b.jpg"
    assert second["data"]["image"] == "/data/local-files/?d=shop/shelf/b.jpg"
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "r1"
    assert prediction["score"] == pytest.approx(0.6)
    mug, card = prediction["result"]
    assert (mug["from_name"], mug["to_name"], mug["value"]["rectanglelabels"]) == ("label", "image", ["mug"])
    assert (mug["original_width"], mug["original_height"], mug["score"]) == (160, 120, pytest.approx(0.8))
    assert [mug["value"][key] for key in ("x", "y", "width", "height", "rotation")] == [10, 20, 20, 40, 0]
    assert card["value"]["rectanglelabels"] == ["card"]
    assert mug["id"] != card["id"]
    assert "predictions" not in nothing
    classes = ElementTree.parse(tmp_path / "label_config.xml").findall(".//Label")
    assert [label.get("value") for label in classes] == ["card", "mug"]


def test_what_is_pushed_and_accepted_can_be_imported(photos: Path, service: FakeSemblance, tmp_path: Path) -> None:
    output = tmp_path / "tasks.json"
    push(service, photos, "--output", output, "--image-url", "https://shop.example/", *SUGGEST)
    tasks = json.loads(output.read_text())
    for number, task in enumerate(tasks):
        results = [region for made in task.pop("predictions", ()) for region in made["result"]]
        task |= {"id": number, "annotations": [{"result": results}]}
    export = write(tmp_path / "export.json", tasks)
    made = imported(export, tmp_path / "out", "--map", f"https://shop.example/={photos}")
    assert [[(o.class_name, o.box, o.item_id) for o in image.objects] for image in made.images] == [
        [("mug", (16, 24, 48, 72), "mug-1"), ("card", (80, 60, 160, 120), None)],
        [],
        [("mug", (16, 24, 48, 72), "mug-1")],
    ]


def test_items_are_suggested_only_where_asked_for(photos: Path, service: FakeSemblance, studio: LabelStudio) -> None:
    assert push(service, photos, *into(studio)).exit_code == 0
    assert [region for task in studio.tasks for region in regions(task, "textarea")] == []
    studio.tasks.clear()
    assert push(service, photos, *into(studio), *SUGGEST).exit_code == 0
    suggested = [region for task in studio.tasks for region in regions(task, "textarea")]
    assert [(region["from_name"], region["value"]["text"]) for region in suggested] == [("item", ["mug-1"])] * 2
    assert suggested[0]["id"] == regions(studio.tasks[0])[0]["id"]


def test_detections_below_the_score_are_left_out(photos: Path, service: FakeSemblance, studio: LabelStudio) -> None:
    assert push(service, photos, *into(studio), "--min-score", 0.5).exit_code == 0
    assert [len(regions(task)) for task in studio.tasks] == [1, 0, 1]


@pytest.mark.parametrize("key", [PERSONAL, LEGACY])
def test_a_project_gets_photos_and_tasks(
    photos: Path, service: FakeSemblance, studio: LabelStudio, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    result = push(service, photos, *into(studio))
    assert result.exit_code == 0, result.output
    assert "3 tasks made; 0 photos had one already" in result.output
    for task, name in zip(studio.tasks, ("a b.jpg", "c.jpg", "shelf/b.jpg"), strict=True):
        assert studio.files[task["data"]["image"]] == (photos / name).read_bytes()
    assert [len(regions(task)) for task in studio.tasks] == [2, 0, 1]


def test_photos_that_label_studio_reaches_itself_are_not_uploaded(
    photos: Path, service: FakeSemblance, studio: LabelStudio
) -> None:
    assert push(service, photos, *into(studio), "--image-url", "s3://shop/").exit_code == 0
    assert not studio.files
    assert studio.tasks[2]["data"]["image"] == "s3://shop/shelf/b.jpg"


def test_a_second_push_makes_only_what_is_missing(
    photos: Path, service: FakeSemblance, studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "PAGE", 2)
    studio.fail_imports_after = 2
    interrupted = push(service, photos, *into(studio))
    assert interrupted.exit_code == 1
    assert "answers 500: out of order" in interrupted.output
    studio.fail_imports_after = None
    photo(photos / "copy.jpg", 0)
    result = push(service, photos, *into(studio))
    assert "1 tasks made; 2 photos had one already" in result.output
    assert len({task["data"]["sha256"] for task in studio.tasks}) == len(studio.tasks) == 3
    searched = service.received["SearchStream"]
    assert "0 tasks made; 3 photos had one already" in push(service, photos, *into(studio)).output
    assert service.received["SearchStream"] == searched


def test_access_that_runs_out_is_bought_again(photos: Path, service: FakeSemblance, studio: LabelStudio) -> None:
    with project.Project(studio.url, PROJECT, PERSONAL) as opened:
        opened.digests()
        studio.expire()
        assert opened.digests() == set()
    assert studio.calls.count("POST /api/token/refresh") == 2


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (configuration(["mug"]), "the class 'card'"),
        (configuration(["mug", "card"]).replace('"$image"', '"$photo"'), '<Image name="image" value="$image">'),
        (configuration(["mug", "card"]).replace('name="label"', 'name="tag"'), '<RectangleLabels name="label"'),
        (configuration(["mug", "card"]).replace('name="item"', 'name="sku"'), '<TextArea name="item"'),
        ("", "is no XML"),
    ],
)
def test_a_configuration_that_would_show_nothing_is_refused(
    photos: Path, service: FakeSemblance, studio: LabelStudio, xml: str, message: str
) -> None:
    studio.configuration = xml
    result = push(service, photos, *into(studio), "--suggest-items")
    assert result.exit_code == 1
    assert message in result.output
    assert not studio.tasks
    assert not studio.files


REFUSALS: dict[str, tuple[tuple[int, Any], str]] = {
    "another token": ((401, {"detail": "no"}), f"refuses the key in {KEY_VARIABLE}: no"),
    "not allowed": ((403, {"detail": "no"}), f"refuses the key in {KEY_VARIABLE}: no"),
    "broken": ((500, b"<html>"), "answers 500: Internal Server Error"),
    "elsewhere": ((302, b""), "sends on to https://labels.example/; give that address as --url"),
    "no JSON": ((200, b"<html>"), "is it Label Studio?"),
    "other JSON": ((200, {"hello": 1}), "is missing"),
    "a list": ((200, [1]), "the answer of GET"),
    "validation": ((400, {"detail": "Validation error", "validation_errors": {"data": ["bad"]}}), "{'data': ['bad']}"),
}


@pytest.mark.parametrize(("answer", "message"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_of_label_studio_are_said(
    photos: Path, service: FakeSemblance, studio: LabelStudio, answer: tuple[int, Any], message: str
) -> None:
    studio.answer = answer
    result = push(service, photos, *into(studio))
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert message in result.output


def test_a_project_that_is_not_there_is_said(photos: Path, service: FakeSemblance, studio: LabelStudio) -> None:
    result = push(service, photos, *into(studio, 99))
    assert "has no project 99" in result.output
    assert not studio.tasks


def test_a_label_studio_that_is_not_there_is_said(
    photos: Path, service: FakeSemblance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, PERSONAL)
    with serving("") as gone:
        pass
    result = push(service, photos, *into(gone))
    assert (result.exit_code, "can't be reached" in result.output) == (1, True)


def test_without_a_key_nothing_is_tried(
    photos: Path, service: FakeSemblance, studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    assert f"{KEY_VARIABLE} is not set" in push(service, photos, *into(studio)).output
    assert not studio.calls


def test_a_photo_that_is_refused_is_named_and_the_others_get_their_tasks(
    photos: Path, service: FakeSemblance, studio: LabelStudio
) -> None:
    service.fail(InvalidImageError("not a JPEG"))
    result = push(service, photos, *into(studio))
    assert result.exit_code == 1
    assert "not a JPEG" in result.output
    assert "1 photos could not be searched with" in result.output
    assert len(studio.tasks) == 2


def test_a_service_with_too_much_to_do_is_asked_again(
    photos: Path, service: FakeSemblance, studio: LabelStudio
) -> None:
    service.fail(OverloadedError("busy", retry_delay=0.01))
    assert push(service, photos, *into(studio)).exit_code == 0
    assert len(studio.tasks) == 3


def test_a_service_that_serves_nobody_is_said(photos: Path, service: FakeSemblance, studio: LabelStudio) -> None:
    service.fail(OverloadedError("busy", retry_delay=0.01), times=3)
    result = push(service, photos, *into(studio))
    assert (result.exit_code, "busy" in result.output) == (1, True)
    assert not studio.tasks


def test_files_that_are_there_are_not_overwritten(photos: Path, service: FakeSemblance, tmp_path: Path) -> None:
    output = write(tmp_path / "tasks.json", "[]")
    result = push(service, photos, "--output", output, "--image-url", "/")
    assert (result.exit_code, output.read_text()) == (1, "[]")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--output", "t.json", "--image-url", "/", "--min-similarity", "0.5"),
        ("--output", "tasks.json"),
        ("--url", "http://x"),
        ("--project", "3"),
        ("--output", "t.json", "--image-url", "/", "--url", "http://x"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    photos: Path, service: FakeSemblance, options: tuple[str, ...]
) -> None:
    assert push(service, photos, *options).exit_code == 2


def test_a_folder_without_photos_is_refused(service: FakeSemblance, studio: LabelStudio, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert "no photo" in push(service, tmp_path / "none", *into(studio)).output


def test_the_configuration_is_printed_and_fits() -> None:
    result = CliRunner().invoke(semblance, ["dataset", "config", "--classes", 'mug,"a<b"'])
    view = ElementTree.fromstring(result.output)
    assert [label.get("value") for label in view.findall(".//Label")] == ["mug", '"a<b"']
