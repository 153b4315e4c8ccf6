"""The tables of `docs/sizing.md`, by the functions that `semblance release plan` counts with.

.venv/dev/bin/python benchmarks/sizing.py --check|--write docs/sizing.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from semblance.export.contract import EMBEDDING_SIZE, PROJECTED_SIZE
from semblance.orchestrator import sizing
from semblance.orchestrator.release import IndexParameters
from semblance.orchestrator.sizing import GIB, OBJECTS, Demand, Given, memory_of_row, photos_of_gpu

RESULTS = Path(__file__).resolve().parent / "results"
MEASURED_ROWS = 100_000
MILLION = 10**6
TIB = 2**40

DEMANDS = tuple(
    Demand(vectors, photos, segment * GIB, days=7, dimension=dimension, index=IndexParameters())
    for dimension in (PROJECTED_SIZE, EMBEDDING_SIZE)
    for vectors, photos, segment in ((MILLION, 100, 1), (100 * MILLION, 1_000, 16), (1_000 * MILLION, 1_000, 16))
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def given(numbers: Iterable[Given]) -> str:
    lines = ["| | | from |", "| --- | ---: | --- |"]
    return "\n".join([*lines, *(f"| {each.what} | {each.text} | {each.source} |" for each in numbers)])


def amount(size: float) -> str:
    return f"{size / TIB:,.1f} TiB" if size >= TIB else f"{size / GIB:,.1f} GiB"


def sizes() -> str:
    rows: tuple[tuple[str, Callable[[Demand], str]], ...] = (
        ("vectors", lambda each: f"{each.vectors // MILLION:,} M"),
        ("numbers in each", lambda each: f"{each.dimension:,}"),
        ("searches a second", lambda each: f"{each.photos:,.0f}"),
        ("segments of", lambda each: amount(each.segment)),
        ("memory of a collection", lambda each: amount(each.memory)),
        ("memory of two", lambda each: amount(each.memory_of_both)),
        ("disk of two", lambda each: amount(each.disk_of_both)),
        ("segments", lambda each: f"{each.segments:,}"),
        ("cores that search", lambda each: f"{each.search_cores:,.1f}"),
        ("**query nodes**", lambda each: f"**{each.query_nodes:,}**"),
        ("**GPUs, each with a Triton**", lambda each: f"**{each.gpus:,}**"),
        ("**orchestrators**", lambda each: f"**{each.orchestrators:,}**"),
        ("days to embed all anew, by the keeper alone", lambda each: f"{each.days_of_keeper:,.1f}"),
    )
    header, *body = [[name, *(cell(each) for each in DEMANDS)] for name, cell in rows]
    return table(header, body)


def measured() -> str:
    """What 100,000 rows took, ten times that, and what is counted for a million."""
    parts = json.loads((RESULTS / "scale.json").read_text())["parts"]
    found = dict(
        zip(zip(parts["layout_dimension"], parts["layout_m"], strict=True), parts["layout_bytes_per_row"], strict=True)
    )
    rows = []
    for (dimension, m), bytes_per_row in sorted(found.items()):
        counted = memory_of_row(int(dimension), IndexParameters(m=int(m)))
        rows.append(
            [
                f"{dimension:,.0f}, {m:.0f}",
                f"{bytes_per_row:,.0f}",
                amount(bytes_per_row * MILLION),
                f"4 · {dimension:,.0f} + 8 · {m:.0f} + {sizing.ROW_BYTES.value:,.0f} = {counted:,}",
                amount(counted * MILLION),
                f"{counted / bytes_per_row:.2f}",
            ]
        )
    header = [
        "numbers, M",
        f"measured: bytes a row of {MEASURED_ROWS:,}",
        "ten times that many rows",
        "counted: bytes a row",
        "counted: 1 M",
        "counted over measured",
    ]
    return table(header, rows)


def gpus() -> str:
    compute, network = photos_of_gpu(OBJECTS.value)
    images, brought = photos_of_gpu(1)
    return table(
        ["a second", "the GPU computes", "its network brings"],
        [
            [f"photos with {OBJECTS.text} objects", f"{compute:,.0f}", f"{network:,.0f}"],
            ["images of the catalogue, one object each", f"{images:,.0f}", f"{brought:,.0f}"],
        ],
    )


TABLES: dict[str, Callable[[], str]] = {
    "sizes": sizes,
    "memory": measured,
    "gpus": gpus,
    "measured": lambda: given(sizing.MEASURED),
    "assumed": lambda: given(sizing.ASSUMED),
}


def rendered(page: str) -> str:
    """The page with each table anew. Raises ValueError where one has no place."""
    for name, text in TABLES.items():
        begin, end = f"<!-- {name}: begin -->\n", f"\n<!-- {name}: end -->"
        if begin not in page or end not in page:
            raise ValueError(f"the page has no place for {name}: expected {begin.strip()} and {end.strip()}")
        page = page[: page.index(begin) + len(begin)] + text() + page[page.index(end) :]
    return page


def main() -> None:
    parser = argparse.ArgumentParser()
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="fail where a table is not current")
    what.add_argument("--write", action="store_true", help="write the tables")
    parser.add_argument("page", type=Path)
    arguments = parser.parse_args()
    page = arguments.page.read_text(encoding="utf-8")
    try:
        fresh = rendered(page)
    except ValueError as error:
        sys.exit(f"{arguments.page}: {error}")
    if arguments.write:
        arguments.page.write_text(fresh, encoding="utf-8")
    elif fresh != page:
        sys.exit(f"{arguments.page} is not what the code counts; write it anew: `make sizing`")


if __name__ == "__main__":
    main()
