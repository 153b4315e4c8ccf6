"""What `semblance index` finds to index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semblance.client.commands.entry import Entry, Problem
from semblance.client.commands.source import gather


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "sub/b.PNG", "sub/deep/c.webp", "sub/notes.txt", ".hidden.jpg", ".thumbs/d.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


def found(*paths: Path | str) -> tuple[dict[str, Entry], list[Problem]]:
    entries, problems = gather(map(str, paths))
    assert len({entry.item_id for entry in entries}) == len(entries)
    return {entry.item_id: entry for entry in entries}, problems


def test_a_folder_gives_its_images_by_their_path(folder: Path) -> None:
    entries, problems = found(folder)
    assert set(entries) == {"a", "sub/b", "sub/deep/c"}
    assert entries["sub/b"].images == (folder / "sub/b.PNG",)
    assert not problems


def test_a_glob_gives_what_it_matches_by_the_path_after_its_fixed_part(folder: Path) -> None:
    assert set(found(f"{folder}/sub/**/*")[0]) == {"b", "deep/c"}
    assert set(found(f"{folder}/*/b.*")[0]) == {"sub/b"}


def test_a_file_gives_itself_whatever_it_is_called(folder: Path) -> None:
    assert set(found(folder / "a.jpg", folder / "sub/notes.txt")[0]) == {"a", "notes"}


def test_the_same_file_twice_is_one_item(folder: Path) -> None:
    entries, problems = found(folder, folder)
    assert len(entries) == 3
    assert not problems


def test_different_files_of_one_id_are_both_named(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"y")
    entries, problems = found(folder)
    assert "a" not in entries
    assert {problem.where for problem in problems} == {str(folder / "a.jpg"), str(folder / "a.png")}
    assert all("'a'" in problem.reason for problem in problems)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("nowhere", "no such file"), ("nothing/*.jpg", "file matches"), ("empty", "no JPEG, PNG or WebP file")],
)
def test_what_gives_nothing_is_a_problem(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    entries, [problem] = found(tmp_path / path)
    assert not entries
    assert reason in problem.reason


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "items.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_a_csv_types_each_column_as_a_whole(tmp_path: Path) -> None:
    rows = [
        "item_id,image,count,price,new,code,mixed",
        "a,a.jpg,1,2,true,0012,1",
        "b,sub/b.jpg,-3,1.5,FALSE,0013,x",
        "c,c.jpg,,,,,",
    ]
    entries, problems = found(csv(tmp_path, "\n".join(rows)))
    assert not problems
    assert repr(entries["a"].attributes) == repr({"count": 1, "price": 2.0, "new": True, "code": "0012", "mixed": "1"})
    assert repr(entries["b"].attributes) == repr(
        {"count": -3, "price": 1.5, "new": False, "code": "0013", "mixed": "x"}
    )
    assert entries["b"].images == (tmp_path / "sub/b.jpg",)
    assert entries["c"].attributes == {}


def test_numeric_ids_stay_as_they_are_written(tmp_path: Path) -> None:
    assert set(found(csv(tmp_path, "item_id,image\n007,1.jpg\n1.50,2.jpg\n12,3"))[0]) == {"007", "1.50", "12"}


def test_rows_of_one_id_are_images_of_one_item(tmp_path: Path) -> None:
    entries, problems = found(csv(tmp_path, "item_id,image,price\na,1.jpg,5\nb,2.jpg,6\na,3.jpg,\n"))
    assert not problems
    assert entries["a"].images == (tmp_path / "1.jpg", tmp_path / "3.jpg")
    assert entries["a"].attributes == {"price": 5}


def test_rows_of_one_id_that_disagree_are_named_and_the_item_is_left_out(tmp_path: Path) -> None:
    path = csv(tmp_path, "item_id,image,price\na,1.jpg,5\nb,2.jpg,6\na,3.jpg,7\n")
    entries, [problem] = found(path)
    assert set(entries) == {"b"}
    assert problem.where == f"{path}:4"
    assert "price=5" in problem.reason
    assert "price=7" in problem.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no rows"),
        ("item_id,image\n", "no rows"),
        ("id,photo\na,a.jpg\n", "item_id and image missing"),
        ("item_id,image\na,\n", "image missing"),
        ("item_id,image\na,a.jpg,1,2\n", "more cells"),
    ],
)
def test_what_is_wrong_with_a_csv_is_said(tmp_path: Path, text: str, reason: str) -> None:
    entries, problems = found(csv(tmp_path, text))
    assert not entries
    assert any(reason in problem.reason for problem in problems)


def test_a_manifest_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(b"item_id,image\n\xff\xfe\x00,a.jpg\n")
    entries, [problem] = found(path)
    assert not entries
    assert "UTF-8" in problem.reason


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    rows = [
        {"item_id": "a", "image": "a.jpg", "n": 1, "f": 1, "b": True, "s": "1", "m": 1},
        {"item_id": "b", "image": "b.jpg", "n": 2, "f": 2.5, "b": None, "s": "x", "m": "x"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    entries, problems = found(path)
    assert not problems
    assert repr(entries["a"].attributes) == repr({"n": 1, "f": 1.0, "b": True, "s": "1", "m": "1"})
    assert repr(entries["b"].attributes) == repr({"n": 2, "f": 2.5, "s": "x", "m": "x"})


def test_a_bad_line_is_named_and_the_others_count(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    good = json.dumps({"item_id": "a", "image": "a.jpg"})
    huge = json.dumps({"item_id": "b", "image": "b.jpg", "n": 2**64})
    path.write_text(f'{good}\n{{"item_id"\n[1]\n{{"item_id": "c", "image": ["c.jpg"]}}\n{huge}\n')
    entries, problems = found(path)
    assert set(entries) == {"a"}
    assert [problem.where for problem in problems] == [f"{path}:{line}" for line in (2, 3, 4, 5)]
