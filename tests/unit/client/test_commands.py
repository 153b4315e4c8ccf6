"""`semblance search`, `get`, `delete`, `count`, `list`, and the group they are in."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from semblance.client import Box, Client, Item, ItemImage, NewItem
from semblance.client.commands.catalog import save
from semblance.client.commands.group import semblance
from semblance.client.testing import FakeSemblance, SeenObject

Picture = Callable[[int], bytes]
Run = Callable[..., Result]


@pytest.fixture
def run(fake: FakeSemblance) -> Run:
    def invoke(*arguments: object) -> Result:
        runner = CliRunner(env={"SEMBLANCE_TARGET": fake.target, "COLUMNS": "200"})
        return runner.invoke(semblance, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def photo(fake: FakeSemblance, client: Client, picture: Picture, tmp_path: Path) -> Path:
    """A photo of a mug and a cup, in a catalogue of both and of a hat."""
    for number, name in enumerate(("mug", "cup", "hat")):
        client.put_item(NewItem(name, [picture(number)], {"price": 10 * number, "new": number == 1}))
    path = tmp_path / "photo.jpg"
    path.write_bytes(picture(99))
    mug = SeenObject(Box(2, 3, 30, 40), "pot", 0.9, {"mug": 0.93})
    fake.shows(picture(99), [mug, SeenObject(Box(20, 5, 60, 45), "pot", 0.6, {"cup": 0.88})])
    return path


def test_search_prints_a_table_for_each_object(run: Run, photo: Path) -> None:
    output = run("search", photo).output
    first, _, second = output.partition("object 2")
    assert "object 1 · pot 0.90 · box 2,3 – 30,40" in first
    assert "· pot 0.60 · box 20,5 – 60,45" in second
    assert first.index("mug") < min(first.index("cup"), first.index("hat"))
    assert "0.930" in first
    assert "new=false, price=0" in first


def test_search_prints_json(run: Run, photo: Path) -> None:
    result = json.loads(run("search", photo, "--json", "--top-k", 1).output)
    assert [found["hits"][0]["item_id"] for found in result["objects"]] == ["mug", "cup"]
    assert result["objects"][0]["box"] == {"x1": 2, "y1": 3, "x2": 30, "y2": 40}
    assert result["objects"][0]["hits"][0]["attributes"] == {"price": 0, "new": False}


def test_search_options_reach_the_service(run: Run, photo: Path) -> None:
    def hits(*options: object) -> list[list[str]]:
        result = json.loads(run("search", photo, "--json", *options).output)
        return [[hit["item_id"] for hit in found["hits"]] for found in result["objects"]]

    assert sorted(hits("--where", "price>=10", "--where", "new=false")[0]) == ["hat"]
    assert len(hits("--objects", "largest")) == 1
    assert len(hits("--min-score", 0.7)) == 1
    assert hits("--min-similarity", 0.8) == [["mug"], ["cup"]]
    boxes = json.loads(run("search", photo, "--json", "--box", "1,2,3,4", "--box", "0,0,64,48").output)["objects"]
    assert [found["source"] for found in boxes] == ["given", "given"]
    whole = json.loads(run("search", photo, "--json", "--objects", "whole-image").output)["objects"]
    assert [found["source"] for found in whole] == ["whole_image"]


def test_search_says_that_nothing_was_detected(run: Run, photo: Path, picture: Picture) -> None:
    photo.write_bytes(picture(50))
    assert "Nothing was detected" in run("search", photo).output


def test_search_draws_the_result(run: Run, photo: Path, tmp_path: Path) -> None:
    result = run("search", photo, "--save", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.width > 1000


def test_a_drawing_that_cannot_be_written_is_one_line(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "full.png").symlink_to("/dev/full")
    result = run("search", photo, "--save", tmp_path / "full.png")
    assert result.exit_code == 1
    assert result.stderr == f"Error: cannot write {tmp_path / 'full.png'}: No space left on device\n"


@pytest.mark.parametrize("name", ["out.foo", "out", "nowhere/out.png", "."])
def test_a_drawing_that_could_not_be_written_is_refused_before_the_search(
    run: Run, fake: FakeSemblance, photo: Path, tmp_path: Path, name: str
) -> None:
    result = run("search", photo, "--save", tmp_path / name)
    assert result.exit_code == 2
    assert "'--save'" in result.stderr
    assert not fake.received["Search"]


def test_images_that_cannot_be_saved_are_one_line(run: Run, photo: Path, tmp_path: Path) -> None:
    result = run("get", "mug", "--save-images", photo / "below")
    assert result.exit_code == 1
    assert result.stderr == f"Error: cannot write into {photo / 'below'}: Not a directory\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "price"], "price<20"),
        (["--box", "1,2,3"], "x1,y1,x2,y2"),
        (["--box", "1,2,3,nan"], "x1,y1,x2,y2"),
        (["--box", "1,2,3,4", "--objects", "largest"], "excludes"),
        (["--timeout", "0"], "--timeout"),
    ],
)
def test_search_refuses_what_it_cannot_mean(run: Run, photo: Path, options: list[str], message: str) -> None:
    result = run("search", photo, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_value_that_cannot_be_sent_is_one_line(run: Run, photo: Path) -> None:
    result = run("search", photo, "--top-k", -1)
    assert result.exit_code == 1
    assert result.stderr == "Error: top_k is -1, but must be a whole number from 1 to 1000\n"


def test_errors_of_the_service_are_one_line_and_status_1(run: Run, photo: Path) -> None:
    photo.write_bytes(b"hello")
    for arguments in (("search", photo), ("get", "nonesuch"), ("delete", "nonesuch")):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")
        assert len(result.stderr.splitlines()) == 1
    assert "there is no item 'nonesuch'" in result.stderr


def test_get_shows_an_item_and_saves_its_images(run: Run, photo: Path, picture: Picture, tmp_path: Path) -> None:
    result = run("get", "mug", "--save-images", tmp_path / "new" / "images")
    assert "price" in result.output
    [saved] = (tmp_path / "new" / "images").iterdir()
    assert saved.suffix == ".jpg"
    assert saved.read_bytes() == picture(0)
    item = json.loads(run("get", "mug", "--json").output)
    assert item["attributes"] == {"price": 0, "new": False}
    assert item["images"][0]["image_id"] == saved.stem
    assert "data" not in item["images"][0]
    assert item["created_at"].endswith("+00:00")


def test_a_service_can_not_name_the_files_that_are_saved(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    image = ItemImage(image_id="../../escaped", width=1, height=1, vectors=1, data=b"\xff\xd8\xff")
    save(Item("mug", {}, (image,), now, now), tmp_path / "images")
    assert [path.parent for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "images"]


def test_delete_count_and_list(run: Run, photo: Path) -> None:
    assert run("count").output == "3 items, 3 images, 3 vectors\n"
    assert json.loads(run("count", "--json").output) == {"items": 3, "images": 3, "vectors": 3}
    assert run("delete", "hat").output == "deleted hat\n"
    assert [json.loads(line)["item_id"] for line in run("list", "--json").output.splitlines()] == ["cup", "mug"]
    listed = run("list").output
    assert listed.index("cup") < listed.index("mug")
    assert json.loads(run("delete", "cup", "--json").output) == {"deleted": "cup"}


def test_ids_are_printed_as_they_are(run: Run, client: Client, picture: Picture) -> None:
    client.put_item(NewItem("[red]mug[/red]", [picture(1)], {"note": "[bold]"}))
    assert "[red]mug[/red]" in run("list").output
    assert "note=[bold]" in run("list").output
    assert "[red]mug[/red]" in run("get", "[red]mug[/red]").output


def test_list_follows_pages(run: Run, client: Client, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.client._client.LIST_PAGE", 2)
    for number in range(5):
        client.put_item(NewItem(str(number), [picture(1)]))
    assert [item.item_id for item in client.list()] == list("01234")


def test_help_lists_commands_with_what_they_do(run: Run) -> None:
    # Whatever the width of its columns.
    output = " ".join(run("--help").output.split())
    assert "index Put images into the catalogue" in output
    assert "search Find the catalogue items that a photo shows" in output
    result = run("nonesuch")
    assert result.exit_code == 2
    assert "No such command 'nonesuch'" in result.stderr
