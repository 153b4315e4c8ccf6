"""`semblance evaluate` on a service in memory: what it writes, and what it says of wrong input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from semblance.client import Box, Client, ForbiddenError, NewItem
from semblance.client.commands.group import semblance
from semblance.client.testing import FakeSemblance, SeenObject
from semblance.training.evaluate import report

BOXES = ((10.0, 10.0, 60.0, 60.0), (70.0, 20.0, 110.0, 90.0))
PHOTOS = 6
"""The fewest for which a sign test believes that all of them got better."""


@pytest.fixture
def fake() -> Iterator[FakeSemblance]:
    with FakeSemblance() as service:
        yield service


def objects(*items: str | None, class_name: str = "mug") -> list[dict[str, Any]]:
    return [{"class": class_name, "box": box, "item_id": item} for box, item in zip(BOXES, items, strict=True)]


def write_photo(path: Path, seed: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (100, 120, 3), np.uint8)).save(path)
    return path.read_bytes()


def write_dataset(
    folder: Path, per_photo: Sequence[list[dict[str, Any]]], classes: Sequence[str] = ("mug",), split: str = "test"
) -> Path:
    images = []
    for number, annotated in enumerate(per_photo):
        name = f"images/{split}/{number}.png"
        data = write_photo(folder / name, number)
        images.append(
            {
                "file": name,
                "split": split,
                "sha256": hashlib.sha256(data).hexdigest(),
                "width": 120,
                "height": 100,
                "source": name,
                "objects": annotated,
            }
        )
    manifest = {"format": 1, "classes": list(classes), "source": {}, "images": images}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def dataset(fake: FakeSemblance, tmp_path: Path) -> Path:
    """Photos of two mugs each: the first is found at once, the second is taken for the first but in one photo, in
    which it is not detected."""
    folder = write_dataset(tmp_path / "dataset", [objects("a", "b") for _ in range(PHOTOS)])
    with Client(fake.target) as client:
        for number, item in enumerate(("a", "b", "c")):
            client.put_item(NewItem(item, [write_photo(tmp_path / f"{item}.png", 100 + number)]))
    for number in range(PHOTOS):
        photo = (folder / f"images/test/{number}.png").read_bytes()
        seen = [SeenObject(Box(*BOXES[0]), "mug", 0.9, {"a": 0.95}), SeenObject(Box(0, 60, 30, 99), "mug", 0.1, {})]
        if number:
            seen.append(SeenObject(Box(*BOXES[1]), "mug", 0.8, {"a": 0.9, "b": 0.85}))
        fake.shows(photo, seen)
    return folder


def run(fake: FakeSemblance, dataset: Path, output: Path, *arguments: str) -> Result:
    options = ["--target", fake.target, "--output", str(output), "--robustness-images", "0", *arguments]
    return CliRunner().invoke(semblance, ["evaluate", str(dataset), *options])


def failure(result: Result) -> str:
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_it_writes_figures_with_intervals_and_the_samples_behind_them(
    fake: FakeSemblance, dataset: Path, tmp_path: Path
) -> None:
    result = run(fake, dataset, tmp_path / "out")
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(written) >= {"name", "value", "target", "samples", "spread", "command", "environment"}
    values = written["value"]
    assert values["recall@1"] == 0.5
    assert values["recall@5"] == values["detection_recall"] == pytest.approx(11 / 12, abs=1e-5)
    assert values["mrr"] == pytest.approx((6 + 5 / 2) / 12, abs=1e-5)
    assert values["missed"] == pytest.approx(1 / 12, abs=1e-5)
    assert values["detection_precision"] == 1
    assert written["spread"]["recall@1"] == [0.5, 0.5]
    low, high = written["spread"]["recall@5"]
    assert low < 11 / 12 <= high
    first = written["samples"][0]
    assert first["objects"][1]["found"] is None
    assert [each["score"] for each in first["detections"]] == pytest.approx([0.9, 0.1])
    assert written["parts"]["index"] == {"not measured": "no --milvus was given"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "not detected" in page
    assert "no --milvus was given" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )


def test_an_interrupted_evaluation_leaves_the_earlier_one_whole(
    fake: FakeSemblance, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(fake, dataset, tmp_path / "out").exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(before) == {"evaluation.json", "report.html"}

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "failures", interrupted)
    result = run(fake, dataset, tmp_path / "out", "--seed", "1")
    assert result.exit_code == 130
    assert "as it was before" in " ".join(result.output.split())
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_the_report_shows_names_as_text_whatever_they_are(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    write_dataset(dataset, [objects("a", evil) for _ in range(PHOTOS)])
    with Client(fake.target) as client:
        client.put_item(NewItem(evil, [write_photo(tmp_path / "evil.png", 7)]))
    assert run(fake, dataset, tmp_path / "out").exit_code == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert evil not in page
    assert "&lt;script&gt;alert(1)" in page


def test_an_earlier_evaluation_of_the_same_photos_is_compared(
    fake: FakeSemblance, dataset: Path, tmp_path: Path
) -> None:
    assert run(fake, dataset, tmp_path / "before").exit_code == 0
    for number in range(PHOTOS):
        photo = (dataset / f"images/test/{number}.png").read_bytes()
        seen = [SeenObject(Box(*box), "mug", 0.9, {item: 0.9}) for box, item in zip(BOXES, "ab", strict=True)]
        fake.shows(photo, seen)
    result = run(fake, dataset, tmp_path / "after", "--compare", str(tmp_path / "before" / "evaluation.json"))
    assert result.exit_code == 0, result.output
    assert "Better: +50.0 points" in " ".join(result.output.split())
    written = json.loads((tmp_path / "after" / "evaluation.json").read_text())
    assert written["value"]["recall@1_difference"] == 0.5
    assert written["spread"]["recall@1_difference"] == [0.5, 0.5]
    assert written["target"] == {"recall@1_difference": 0}


def test_other_photos_or_annotations_are_not_compared(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    assert run(fake, dataset, tmp_path / "before").exit_code == 0
    earlier = str(tmp_path / "before" / "evaluation.json")
    write_dataset(dataset, [objects("a", "c") for _ in range(PHOTOS)])
    assert "annotated otherwise" in failure(run(fake, dataset, tmp_path / "after", "--compare", earlier))
    write_dataset(dataset, [objects("a", "b") for _ in range(PHOTOS - 1)])
    told = failure(run(fake, dataset, tmp_path / "after", "--compare", earlier))
    assert "is of 6 photos and this one of 5, of which 5 are the same" in told
    assert not (tmp_path / "after").exists()


def test_what_is_no_evaluation_is_not_compared(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"name": "swap"}')
    told = failure(run(fake, dataset, tmp_path / "out", "--compare", str(tmp_path / "other.json")))
    assert "other.json is not what `semblance evaluate` writes: name" in told
    assert "can't read" in failure(run(fake, dataset, tmp_path / "out", "--compare", str(tmp_path / "none.json")))


def test_a_folder_that_is_no_dataset(fake: FakeSemblance, tmp_path: Path) -> None:
    assert "is no dataset" in failure(run(fake, tmp_path, tmp_path / "out"))


def test_a_split_without_photos(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    told = failure(run(fake, dataset, tmp_path / "out", "--split", "val"))
    assert "split val of" in told
    assert "(photos by split: train 0, val 0, test 6)" in told


def test_a_photo_that_is_missing(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    (dataset / "images/test/2.png").unlink()
    assert "images/test/2.png" in failure(run(fake, dataset, tmp_path / "out"))


def test_objects_without_item_ids(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    write_dataset(dataset, [objects(None, None) for _ in range(2)])
    assert "none of the 4 objects of split test has an item id" in failure(run(fake, dataset, tmp_path / "out"))


def test_items_that_are_not_in_the_catalogue(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    write_dataset(dataset, [objects("a", "unheard-of") for _ in range(2)])
    told = failure(run(fake, dataset, tmp_path / "out"))
    assert "1 of 2 items of the annotations are not in the service's catalogue (unheard-of)" in told
    assert "semblance index" in told


def test_classes_that_the_detector_does_not_name(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    write_dataset(dataset, [objects("a", "b", class_name="tasse") for _ in range(PHOTOS)], ("tasse",))
    told = failure(run(fake, dataset, tmp_path / "out"))
    assert "the detector names mug, and the annotations tasse: no class is the same" in told


def test_a_service_that_is_down(dataset: Path, tmp_path: Path) -> None:
    with FakeSemblance() as gone:
        target = gone.target
    arguments = ["evaluate", str(dataset), "--target", target, "--output", str(tmp_path / "out"), "--timeout", "1"]
    result = CliRunner().invoke(semblance, arguments)
    assert target in failure(result)
    assert not (tmp_path / "out").exists()


def test_a_search_that_fails(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    fake.fail(ForbiddenError("searching a release takes the role admin"), method="SearchStream")
    assert "takes the role admin" in failure(run(fake, dataset, tmp_path / "out"))


def test_two_ways_to_compare_exclude_each_other(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    assert "--against excludes --compare" in failure(
        run(fake, dataset, tmp_path / "out", "--against", "r1", "--compare", "x.json")
    )


def write_queries(folder: Path, lines: Sequence[dict[str, Any]], photos: int) -> Path:
    for number in range(photos):
        write_photo(folder / f"images/{number}.png", 500 + number)
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def query(number: int, **more: Any) -> dict[str, Any]:
    told = {"image": f"images/{number}.png", "box": BOXES[0], "class": "mug", "item_id": "a", "release": "r1"}
    return {**told, "feedback_id": f"f{number}", **more}


def test_verdicts_of_callers_are_searched_and_kept_apart(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    lines = [query(0), query(1, item_id="b"), query(1, box=None, item_id="c", **{"class": None})]
    folder = write_queries(tmp_path / "feedback", lines, 2)
    fake.shows((folder / "images/0.png").read_bytes(), [SeenObject(Box(*BOXES[0]), "mug", 0.9, {"a": 0.9})])
    fake.shows((folder / "images/1.png").read_bytes(), [SeenObject(Box(*BOXES[0]), "mug", 0.9, {"a": 0.9})])
    result = run(fake, dataset, tmp_path / "out", "--queries", str(folder))
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert len(written["samples"]) == PHOTOS
    told = written["parts"]["verdicts"]
    assert told["figures"]["recall@1"]["value"] == pytest.approx(1 / 3, abs=1e-5)
    assert told["figures"]["missed"]["value"] == pytest.approx(1 / 3, abs=1e-5)
    assert "map50" not in told["figures"]
    whole = told["samples"][1]["objects"][1]
    assert whole["box"] == [0, 0, 120, 100]
    assert "Callers' verdicts" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"image": "images/0.png"}, "queries.jsonl, line 1: item_id"),
        (query(7), "is no readable photo"),
        (query(0), "has verdicts of one photo"),
    ],
)
def test_verdicts_that_can_not_be_searched(
    fake: FakeSemblance, dataset: Path, tmp_path: Path, line: dict[str, Any], told: str
) -> None:
    folder = write_queries(tmp_path / "feedback", [line], 1)
    assert told in failure(run(fake, dataset, tmp_path / "out", "--queries", str(folder)))


def test_a_folder_without_verdicts(fake: FakeSemblance, dataset: Path, tmp_path: Path) -> None:
    told = failure(run(fake, dataset, tmp_path / "out", "--queries", str(tmp_path)))
    assert "semblance feedback export" in told
