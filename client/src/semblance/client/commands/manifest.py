"""CSV and JSON Lines files that name items: columns `item_id` and `image`, all others attributes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semblance.client._filters import Attribute
from semblance.client.commands.entry import Entry, Problem
from semblance.client.commands.expression import INT64, parse_value

REQUIRED = ("item_id", "image")


@dataclass(frozen=True, slots=True)
class Row:
    """A line: cells by column, each as the value it means and as text; empty ones left out."""

    line: int
    cells: Mapping[str, tuple[Attribute, str]]


def read_manifest(path: Path) -> Iterator[Entry | Problem]:
    """Items in the order of their first rows; several rows of one id are several images of one item.

    Values are integers, floats or booleans where a whole column is; an empty cell is no attribute. Image paths
    are relative to the manifest.
    """
    rows: list[Row] = []
    try:
        for row in _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path):
            if isinstance(row, Problem):
                yield row
            elif missing := [column for column in REQUIRED if column not in row.cells]:
                yield Problem(f"{path}:{row.line}", f"{' and '.join(missing)} missing or empty in this row")
            else:
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        yield Problem(str(path), f"can't be read as UTF-8 {path.suffix[1:].upper()}: {error}")
        return
    if not rows:
        yield Problem(str(path), "has no rows")
    yield from _items(path, rows)


def _csv_rows(path: Path) -> Iterator[Row | Problem]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for cells in reader:
            if None in cells:
                yield Problem(f"{path}:{reader.line_num}", "has more cells than the header has columns")
                continue
            texts = {name: text for name, text in cells.items() if text}
            yield Row(reader.line_num, {name: (parse_value(text), text) for name, text in texts.items()})


def _json_rows(path: Path) -> Iterator[Row | Problem]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                cells = json.loads(line)
            except json.JSONDecodeError as error:
                yield Problem(f"{path}:{number}", f"is not JSON: {error.msg}")
                continue
            if not isinstance(cells, dict) or not all(map(_is_attribute, cells.values())):
                yield Problem(f"{path}:{number}", "expected an object of strings, numbers of 64 bits and booleans")
                continue
            given = {name: value for name, value in cells.items() if value not in (None, "")}
            yield Row(number, {name: (value, _text(value)) for name, value in given.items()})


def _is_attribute(value: Any) -> bool:
    return value is None or isinstance(value, str | float | bool) or (isinstance(value, int) and value in INT64)


def _text(value: Attribute) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _items(path: Path, rows: list[Row]) -> Iterator[Entry | Problem]:
    """One item for each id; none where two rows of an id disagree about an attribute."""
    kinds = _column_types(rows)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.cells["item_id"][1], []).append(row)
    for item_id, group in groups.items():
        attributes: dict[str, Attribute] = {}
        clash = None
        for row in group:
            for name, (value, text) in row.cells.items():
                if name in REQUIRED:
                    continue
                typed: Attribute = text if kinds[name] is str else kinds[name](value)
                if attributes.setdefault(name, typed) != typed:
                    clash = f"item {item_id!r} has {name}={attributes[name]} in an earlier row and {name}={typed} here"
                    yield Problem(f"{path}:{row.line}", clash)
        if not clash:
            images = tuple(path.parent / row.cells["image"][1] for row in group)
            yield Entry(f"{path}:{group[0].line}", item_id, images, attributes)


def _column_types(rows: list[Row]) -> dict[str, type[Attribute]]:
    """The type that all values of a column have; integers among floats are floats, other mixtures strings."""
    seen: dict[str, set[type[Attribute]]] = {}
    for row in rows:
        for name, (value, _) in row.cells.items():
            seen.setdefault(name, set()).add(type(value))
    return {
        name: next(iter(types)) if len(types) == 1 else float if types == {int, float} else str
        for name, types in seen.items()
    }
