"""`semblance feedback`, and the folder that it writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from semblance.client import (
    AnsweredObject,
    AsyncClient,
    Box,
    Client,
    ExportedFeedback,
    Feedback,
    FeedbackKind,
    InvalidArgumentError,
    NewItem,
    PhotoCondition,
    RankedItem,
    Source,
    UnavailableError,
    Verdict,
)
from semblance.client.commands.feedback_folder import MAX_NEGATIVES, NotEmpty, Written, things_of, write_folder
from semblance.client.commands.group import semblance
from semblance.client.testing import FakeSemblance, SeenObject
from tests.releases import CREATED

Picture = Callable[[int], bytes]
Run = Callable[..., Result]

MUG_BOX = Box(2, 3, 30, 40)


@pytest.fixture
def run(fake: FakeSemblance) -> Run:
    def invoke(*arguments: object, text: str | None = None) -> Result:
        runner = CliRunner(env={"SEMBLANCE_TARGET": fake.target, "COLUMNS": "220"})
        return runner.invoke(semblance, ["feedback", *(str(argument) for argument in arguments)], input=text)

    return invoke


@pytest.fixture
def photo(fake: FakeSemblance, client: Client, picture: Picture, tmp_path: Path) -> Path:
    """A mug and a cup, in a catalogue of both and of a hat; the first hit of the cup is the hat."""
    for number, name in enumerate(("mug", "cup", "hat")):
        client.put_item(NewItem(name, [picture(number)]))
    path = tmp_path / "photo.jpg"
    path.write_bytes(picture(99))
    mug = SeenObject(MUG_BOX, "pot", 0.9, {"mug": 0.93})
    fake.shows(picture(99), [mug, SeenObject(Box(20, 5, 60, 45), "pot", 0.6, {"hat": 0.9, "cup": 0.88})])
    return path


def kept(client: Client) -> list[Feedback]:
    return list(client.feedback.list())


@pytest.mark.parametrize(
    ("options", "verdict", "success"),
    [
        (("--right",), Verdict.right("mug"), True),
        (("--object", 2, "--right", "--rank", 2), Verdict.right("cup"), False),
        (("--object", 2, "--wrong"), Verdict.wrong("hat"), False),
        (("--object", 2, "--item", "cup"), Verdict.item("cup"), False),
        (("--box-wrong",), Verdict.box_wrong(), False),
        (("--box-wrong", "--right-box", "1,2,30,40"), Verdict.box_wrong(Box(1, 2, 30, 40)), False),
        (("--missed", "5,6,20,30"), Verdict.missed(Box(5, 6, 20, 30)), False),
        (("--missed", "5,6,20,30", "--item", "spoon"), Verdict.missed(Box(5, 6, 20, 30), "spoon"), False),
    ],
)
def test_gives_a_verdict_about_the_answer(
    run: Run, photo: Path, client: Client, options: tuple[object, ...], verdict: Verdict, success: bool
) -> None:
    result = run("give", photo, *options)
    assert result.exit_code == 0, result.output
    [found] = kept(client)
    assert found.verdict == verdict
    assert found.success is success
    assert (found.answered is None) is (verdict.kind is FeedbackKind.MISSED)
    assert result.output.startswith(f"{found.feedback_id} kept: {verdict.kind}")
    again = run("give", photo, *options)
    assert "was there already" in again.output
    assert len(kept(client)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give one verdict"),
        (("--right", "--wrong"), "give one verdict"),
        (("--item", "mug", "--right"), "give one verdict"),
        (("--right", "--right-box", "1,2,3,4"), "--right-box goes with --box-wrong"),
        (("--missed", "1,2,3"), "not x1,y1,x2,y2"),
        (("--object", 3, "--right"), "there is no object 3: the answer has 2"),
        (("--rank", 9, "--right"), "there is no hit 9: the object has 3"),
        (("--object", 0, "--right"), "0 is not in the range x>=1"),
    ],
)
def test_what_can_not_be_said_is_refused(
    run: Run, photo: Path, client: Client, options: tuple[object, ...], message: str
) -> None:
    result = run("give", photo, *options)
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output
    assert kept(client) == []


def test_an_id_of_ones_own_is_that_of_one_verdict(run: Run, photo: Path) -> None:
    assert json.loads(run("give", photo, "--right", "--id", "order-7", "--json").output) == {
        "feedback_id": "order-7",
        "created": True,
    }
    result = run("give", photo, "--wrong", "--id", "order-7")
    assert result.exit_code == 1
    assert "says something else" in result.output


def test_lists_and_reports(run: Run, photo: Path) -> None:
    run("give", photo, "--right")
    run("give", photo, "--object", 2, "--item", "cup")
    listed = run("list").output
    assert "right mug" in listed
    assert "hat 0.900" in listed
    lines = [json.loads(line) for line in run("list", "--kind", "item", "--json").output.splitlines()]
    assert [line["verdict"]["item_id"] for line in lines] == ["cup"]
    report = run("report").output
    assert "0.500" in report
    assert "1 item, 1 right" in report
    assert json.loads(run("report", "--json").output)["groups"][0]["judged"] == 2
    assert json.loads(run("report", "--release", "r9", "--json").output)["groups"][0]["judged"] == 0


def test_deletes_by_id_or_all_of_a_caller_when_asked(run: Run, photo: Path, client: Client) -> None:
    run("give", photo, "--right", "--id", "a")
    run("give", photo, "--wrong", "--id", "b")
    assert run("delete").exit_code == 2
    assert run("delete", "a").output == "1 deleted\n"
    caller = kept(client)[0].caller
    assert run("delete", "--caller", caller, text="n\n").exit_code == 1
    assert len(kept(client)) == 1
    assert run("delete", "--caller", caller, "--yes").output == "1 deleted\n"
    assert kept(client) == []


def test_adds_confirmed_objects_to_their_items_once(run: Run, photo: Path, client: Client) -> None:
    run("give", photo, "--right")
    run("give", photo, "--object", 2, "--wrong")
    run("give", photo, "--missed", "1,1,9,9")
    assert run("add-references").output == "1 added, 0 there already, 0 skipped, 0 failed\n"
    assert len(client.get("mug").images) == 2
    assert run("add-references").output == "0 added, 1 there already, 0 skipped, 0 failed\n"
    assert len(client.get("mug").images) == 2
    run("give", photo, "--object", 2, "--item", "nothing")
    failed = run("add-references")
    assert failed.exit_code == 1
    assert "there is no item 'nothing'" in failed.output
    assert run("add-references", "--kind", "wrong").exit_code == 2


@pytest.mark.parametrize("later", [("--wrong", "--rank", 2), ("--item", "mug")])
def test_what_was_taken_back_is_skipped_with_the_reason(
    run: Run, photo: Path, client: Client, later: tuple[object, ...]
) -> None:
    run("give", photo, "--object", 2, "--item", "cup", "--id", "first")
    run("give", photo, "--object", 2, *later, "--id", "second")
    result = run("add-references", "--kind", "item")
    assert result.exit_code == 0
    assert "'second' later took" in result.output
    assert ", 1 skipped, 0 failed\n" in result.output
    assert len(client.get("cup").images) == 1
    run("give", photo, "--object", 2, "--item", "cup", "--id", "third")
    run("add-references")
    assert len(client.get("cup").images) == 2


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_exports_a_folder(run: Run, photo: Path, client: Client, tmp_path: Path) -> None:
    run("give", photo, "--right")
    run("give", photo, "--object", 2, "--right", "--rank", 2)
    folder = tmp_path / "out"
    result = run("export", folder)
    assert result.output == f"{folder}: 1 photos, 1 tasks, 2 queries, 2 pairs\n"
    name = f"images/{hashlib.sha256(photo.read_bytes()).hexdigest()}.jpg"
    assert (folder / name).read_bytes() == photo.read_bytes()
    cup = next(each for each in kept(client) if each.true_item == "cup")
    assert {"image": name, "box": [20, 5, 60, 45], "class": "pot", "item_id": "cup", "release": "r1"} | {
        "feedback_id": cup.feedback_id
    } in lines(folder / "queries.jsonl")
    pairs = {pair["positive"]: pair for pair in lines(folder / "pairs.jsonl")}
    assert pairs["cup"]["negatives"] == ["hat"]
    assert pairs["mug"]["negatives"] == []
    [task] = json.loads((folder / "tasks.json").read_text())
    assert task["data"]["image"] == name
    [prediction] = task["predictions"]
    assert prediction["model_version"] == "r1"
    assert prediction["score"] == pytest.approx(0.75)
    assert [one["type"] for one in prediction["result"]] == ["rectanglelabels", "textarea"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photo.jpg"]
    # It is as open to others as any folder that is made there.
    (tmp_path / "like").mkdir()
    assert folder.stat().st_mode == (tmp_path / "like").stat().st_mode


def test_what_was_added_is_no_query_any_more(run: Run, photo: Path, tmp_path: Path) -> None:
    run("give", photo, "--right")
    run("add-references")
    assert "0 tasks, 0 queries, 1 pairs" in run("export", tmp_path / "out").output


def test_a_folder_that_is_not_empty_is_refused(run: Run, photo: Path, tmp_path: Path) -> None:
    run("give", photo, "--right")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        result = run("export", tmp_path / name)
        assert result.exit_code == 1
        assert "is there and not empty" in result.output
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert run("export", tmp_path / "empty").exit_code == 0
    assert (tmp_path / "empty" / "tasks.json").exists()


def test_an_export_that_ends_early_leaves_nothing(run: Run, fake: FakeSemblance, photo: Path, tmp_path: Path) -> None:
    run("give", photo, "--right")
    fake.fail(UnavailableError("gone"), times=10, method="ExportFeedback")
    result = run("export", tmp_path / "out")
    assert result.exit_code == 1
    assert "gone" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.jpg"]


# The folder, from feedback made by hand.

HITS = tuple(RankedItem(f"item-{number}", 0.9 - number / 100) for number in range(20))
ANSWERED = AnsweredObject(Source.DETECTED, Box(10, 20, 30, 60), 0.8, "mug", HITS)


def feedback(
    feedback_id: str, verdict: Verdict, answered: AnsweredObject | None = ANSWERED, **changes: object
) -> Feedback:
    condition = PhotoCondition(500, 100, 20)
    made = Feedback(feedback_id, "shop", CREATED, "r1", "a" * 64, 100, 200, verdict, None, answered, condition, "")
    return replace(made, **changes)  # type: ignore[arg-type]


def written(folder: Path, *given: Feedback, photo: bytes = b"\xff\xd8") -> Written:
    seen: set[str] = set()
    exported = []
    for each in given:
        exported.append(ExportedFeedback(each, None if each.image_id in seen else photo))
        seen.add(each.image_id)
    return write_folder(folder, exported)


def test_a_task_has_rectangles_in_percent_and_the_items_of_its_regions(tmp_path: Path) -> None:
    written(tmp_path / "out", feedback("f-1", Verdict.item("item-1"), success=False))
    [task] = json.loads((tmp_path / "out/tasks.json").read_text())
    region = {
        "id": hashlib.sha256(b"f-1").hexdigest()[:10],
        "to_name": "image",
        "original_width": 100,
        "original_height": 200,
        "image_rotation": 0,
    }
    place = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
    rectangle = {**region, "score": 0.8, "from_name": "label", "type": "rectanglelabels"}
    assert task["predictions"] == [
        {
            "model_version": "r1",
            "score": 0.8,
            "result": [
                {**rectangle, "value": {**place, "rectanglelabels": ["mug"]}},
                {**region, "from_name": "item", "type": "textarea", "value": {**place, "text": ["item-1"]}},
            ],
        }
    ]
    assert task["data"]["feedback"] == [{"id": "f-1", "kind": "item", "release": "r1"}]


def test_a_task_is_of_a_photo_and_a_prediction_of_a_release(tmp_path: Path) -> None:
    other = replace(ANSWERED, box=Box(50, 50, 80, 90))
    whole = replace(ANSWERED, source=Source.WHOLE_IMAGE, score=None, class_name=None)
    made = written(
        tmp_path / "out",
        feedback("f-1", Verdict.wrong("item-0"), success=False),
        feedback("f-2", Verdict.wrong("item-0"), other, success=False, release="r2"),
        feedback("f-3", Verdict(FeedbackKind.NOTHING_DETECTED), None, image_id="b" * 64),
        feedback("f-4", Verdict.right("item-0"), success=True, image_id="c" * 64),
        feedback("f-5", Verdict.item("item-9"), whole, success=False, image_id="d" * 64),
    )
    assert (made.photos, made.tasks) == (4, 3)
    tasks = {task["data"]["image"][7]: task for task in json.loads((tmp_path / "out/tasks.json").read_text())}
    assert [each["model_version"] for each in tasks["a"]["predictions"]] == ["r1", "r2"]
    assert tasks["b"]["predictions"] == []
    assert tasks["d"]["predictions"] == []
    [query] = [line for line in lines(tmp_path / "out/queries.jsonl") if line["item_id"] == "item-9"]
    assert (query["box"], query["class"]) == (None, None)


def test_the_right_box_replaces_the_wrong_one(tmp_path: Path) -> None:
    right = Box(12, 22, 32, 62)
    written(
        tmp_path / "out",
        feedback("f-1", Verdict.box_wrong(right), success=False),
        feedback("f-2", Verdict.right("item-0"), success=True),
    )
    [query] = lines(tmp_path / "out/queries.jsonl")
    assert query["box"] == [12, 22, 32, 62]
    [task] = json.loads((tmp_path / "out/tasks.json").read_text())
    assert task["predictions"][0]["result"][0]["value"]["x"] == 12


def test_a_missed_object_is_a_region_without_a_class(tmp_path: Path) -> None:
    written(tmp_path / "out", feedback("f-1", Verdict.missed(Box(1, 2, 11, 22), "spoon"), None, success=False))
    [task] = json.loads((tmp_path / "out/tasks.json").read_text())
    [rectangle, item] = task["predictions"][0]["result"]
    assert rectangle["value"]["rectanglelabels"] == []
    assert "score" not in rectangle
    assert item["value"]["text"] == ["spoon"]
    [pair] = lines(tmp_path / "out/pairs.jsonl")
    assert (pair["positive"], pair["negatives"], pair["class"]) == ("spoon", [], None)


def test_negatives_are_what_was_ranked_before_and_what_was_called_wrong() -> None:
    def negatives(*given: Feedback) -> list[str]:
        [thing] = things_of(given)
        return thing.negatives

    assert negatives(feedback("f-1", Verdict.item("item-2"))) == ["item-0", "item-1"]
    wrong = feedback("f-2", Verdict.wrong("item-7"))
    assert negatives(feedback("f-1", Verdict.right("item-1")), wrong) == ["item-0", "item-7"]
    elsewhere = negatives(feedback("f-1", Verdict.item("elsewhere")))
    assert elsewhere == [hit.item_id for hit in HITS[:MAX_NEGATIVES]]


def test_of_two_who_disagree_the_last_one_is_believed() -> None:
    later = CREATED.replace(year=CREATED.year + 1)
    given = [
        feedback("f-1", Verdict.item("item-3"), given_at=later),
        feedback("f-2", Verdict.item("item-4")),
        feedback("f-3", Verdict.box_wrong(), given_at=later.replace(month=12)),
    ]
    [thing] = things_of(given)
    assert thing.item_id == "item-3"


def test_what_was_said_is_taken_back_by_whoever_calls_it_wrong_later(tmp_path: Path) -> None:
    later = CREATED.replace(year=CREATED.year + 1)
    right, wrong = feedback("f-1", Verdict.right("item-0")), feedback("f-2", Verdict.wrong("item-0"), given_at=later)
    made = written(tmp_path / "out", right, wrong)
    assert (made.queries, made.pairs) == (0, 0)
    again = written(tmp_path / "again", replace(right, given_at=later), replace(wrong, given_at=CREATED))
    assert (again.queries, again.pairs) == (1, 1)


def test_regions_whose_feedback_begins_alike_are_two(tmp_path: Path) -> None:
    other = replace(ANSWERED, box=Box(50, 50, 80, 90))
    given = feedback("verdict-2026-1", Verdict.item("item-1")), feedback("verdict-2026-2", Verdict.box_wrong(), other)
    written(tmp_path / "out", *given)
    [task] = json.loads((tmp_path / "out/tasks.json").read_text())
    assert len({result["id"] for result in task["predictions"][0]["result"]}) == 2


@pytest.mark.parametrize(
    ("photo", "suffix"), [(b"\xff\xd8..", ".jpg"), (b"\x89PNG..", ".png"), (b"RIFF....WEBP", ".webp")]
)
def test_photos_are_named_for_what_they_are(tmp_path: Path, photo: bytes, suffix: str) -> None:
    written(tmp_path / "out", feedback("f-1", Verdict.right("item-0")), photo=photo)
    assert [path.name for path in (tmp_path / "out/images").iterdir()] == [f"{'a' * 64}{suffix}"]


def test_a_photo_that_was_deleted_meanwhile_is_left_out(tmp_path: Path) -> None:
    gone = ExportedFeedback(feedback("f-1", Verdict.right("item-0")), None)
    there = ExportedFeedback(feedback("f-2", Verdict.right("item-0"), image_id="b" * 64), b"\xff\xd8")
    assert write_folder(tmp_path / "out", [gone, there]).photos == 1
    assert write_folder(tmp_path / "none", [gone]).photos == 0
    assert json.loads((tmp_path / "none/tasks.json").read_text()) == []
    with pytest.raises(NotEmpty):
        write_folder(tmp_path / "out", [])


# The client.


def test_what_no_message_can_carry_is_refused_before_it_is_sent(fake: FakeSemblance, client: Client) -> None:
    for broken in (
        lambda: client.feedback.give(b"x", 5, Verdict.item("a")),  # type: ignore[arg-type]
        lambda: client.feedback.give(b"x", "r1", "right"),  # type: ignore[arg-type]
        lambda: client.feedback.give(b"x", "r1", Verdict.item("\ud800")),
        lambda: client.feedback.give(b"x", "r1", Verdict.item("a"), "object"),  # type: ignore[arg-type]
        lambda: list(client.feedback.list(kinds=["right", "odd"])),  # type: ignore[list-item]
        lambda: client.feedback.delete([5]),  # type: ignore[list-item]
        lambda: client.feedback.add_reference(5),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidArgumentError):
            broken()
    assert not fake.received


async def test_asyncio_gives_and_finds_the_same(fake: FakeSemblance, client: Client, photo: Path) -> None:
    async with AsyncClient(fake.target) as connected:
        result = await connected.search(photo)
        given = await connected.feedback.give(photo, result.release, Verdict.right("mug"), result.objects[0])
        assert [each async for each in connected.feedback.list()] == kept(client)
        assert await connected.feedback.report() == client.feedback.report()
        assert [each async for each in connected.feedback.export()] == list(client.feedback.export())
        added = await connected.feedback.add_reference(given.feedback_id)
        assert added == replace(client.feedback.add_reference(given.feedback_id), added=True)
        assert await connected.feedback.delete([given.feedback_id]) == 1
    assert kept(client) == []
