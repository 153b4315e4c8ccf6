"""The arithmetic of docs/sizing.md: its numbers are those that were measured, and the page's tables are the code's."""

import importlib.util
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from semblance.orchestrator import sizing
from semblance.orchestrator.release import IndexParameters
from semblance.orchestrator.sizing import GIB, Demand, memory_of_row, photos_of_gpu, query_nodes

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "sizing.md"
DEMAND = Demand(
    vectors=100_000_000, photos=1000, segment=16 * GIB, days=7, dimension=384, index=IndexParameters(16, 200, 128)
)


def figure(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return found


def layouts() -> Iterator[dict[str, float]]:
    parts = figure("scale")["parts"]
    columns = {name.removeprefix("layout_"): cells for name, cells in parts.items() if name.startswith("layout_")}
    for cells in zip(*columns.values(), strict=True):
        yield dict(zip(columns, cells, strict=True))


def test_memory_is_counted_as_it_was_measured_or_on_the_safe_side() -> None:
    """A million rows take ten times what 100,000 took."""
    for each in layouts():
        counted = memory_of_row(int(each["dimension"]), IndexParameters(m=int(each["m"])))
        assert counted >= each["bytes_per_row"]
        if each["dimension"] >= 384:
            assert counted <= 1.07 * each["bytes_per_row"]


def test_no_measured_search_took_longer_than_is_counted() -> None:
    """By how much it grows from 1,000 rows to 100,000."""
    grown = [
        1000 * (each["large_p50_ms"] - each["small_p50_ms"]) / math.log(100) / each["dimension"]
        for each in layouts()
        if each["ef"] == IndexParameters().ef
    ]
    assert 0.95 * sizing.SEARCH_US.value < max(grown) <= sizing.SEARCH_US.value


def test_the_cpu_of_an_orchestrator_is_what_was_measured() -> None:
    measured = statistics.median(figure("overhead")["parts"]["orchestrator_cpu_ms"])
    assert pytest.approx(measured, abs=0.01) == sizing.ORCHESTRATOR_MS.value


def test_the_objects_of_a_photo_are_those_of_the_measured_scenes() -> None:
    assert f"{sizing.OBJECTS.value:g} objects" in " ".join(figure("efficiency")["environment"]["notes"])


def test_a_demand_by_hand() -> None:
    """The arithmetic that the page shows."""
    row = 384 * 4 + 8 * 16 + 1300
    assert DEMAND.memory == 100_000_000 * row
    assert DEMAND.memory_of_both == 2 * DEMAND.memory
    assert DEMAND.disk_of_both == 2 * 100_000_000 * sizing.disk_of_row(384)
    assert DEMAND.segments == math.ceil(100_000_000 * 384 * 4 / (16 * GIB)) == 9
    assert pytest.approx(1000 * 3.44 * 9 * 0.75e-6 * 384 * math.log(100_000_000 / 9)) == DEMAND.search_cores
    assert query_nodes(DEMAND.memory_of_both) == math.ceil(2 * 100_000_000 * row / (128 * GIB * 0.75)) == 6
    assert DEMAND.query_nodes == math.ceil(DEMAND.search_cores / (16 * 0.7)) == 13
    compute, network = photos_of_gpu(3.44)
    assert pytest.approx(121e3 * 0.2 / (8.7 + 3.44 * 8.2)) == compute
    assert pytest.approx(10e9 / (8 * 3 * (640 * 640 + 3.44 * 224 * 224))) == network
    assert DEMAND.gpus == math.ceil((1000 / compute + 100_000_000 / (7 * 86_400) / min(photos_of_gpu(1))) / 0.7) == 3


def test_more_takes_no_less_and_none_is_alone() -> None:
    for larger in (
        replace(DEMAND, vectors=10 * DEMAND.vectors),
        replace(DEMAND, photos=10 * DEMAND.photos),
        replace(DEMAND, dimension=2048),
    ):
        assert larger.query_nodes > DEMAND.query_nodes
        assert (larger.gpus, larger.orchestrators) >= (DEMAND.gpus, DEMAND.orchestrators)
    least = replace(DEMAND, vectors=1000, photos=0.1)
    assert (least.query_nodes, least.gpus, least.orchestrators) == (2, 2, 2)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sizing_page", ROOT / "benchmarks" / "sizing.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(generator: ModuleType) -> None:
    assert generator.rendered(PAGE.read_text()) == PAGE.read_text()


def test_another_number_in_the_code_makes_the_page_old(generator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "ROW_BYTES", replace(sizing.ROW_BYTES, value=1_000))
    assert generator.rendered(PAGE.read_text()) != PAGE.read_text()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("| 1 M |", "| 2 M |", "make sizing"), ("<!-- gpus: end -->", "", "no place for gpus")],
)
def test_a_page_that_was_edited_fails_the_check(tmp_path: Path, old: str, new: str, says: str) -> None:
    page = tmp_path / "sizing.md"
    page.write_text(PAGE.read_text().replace(old, new, 1))
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "sizing.py", "--check", page], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert says in done.stderr
