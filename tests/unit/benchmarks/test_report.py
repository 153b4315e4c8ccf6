"""The report says what was measured, on what, and draws it."""

from pathlib import Path

import pytest

from semblance.benchmarks import report
from semblance.benchmarks.figure import ONLY, Figure, Measure
from semblance.benchmarks.result import Latency, Result, Row
from semblance.benchmarks.stages import Stages
from tests.unit.benchmarks.test_figure import HOST


def row(in_flight: int) -> Row:
    latency = Latency.of([0.010, 0.020, 0.030])
    return Row(
        {"calls": "unary", "in flight": in_flight},
        100.0,
        latency,
        Stages(decode=0.02),
        {"client": 0.001},
        {"others_share": 0.5},
        "late",
    )


def test_figures_and_scenarios_are_reported_and_kept(tmp_path: Path) -> None:
    out, home = tmp_path / "out", tmp_path / "home"
    Figure("latency", {ONLY: Measure((1.2,), 1.15, "lower")}, "make bench", HOST).write(out)
    result = Result("native", "native", "make bench", HOST, (row(1), row(4)))
    result.write(out)
    text = report.write(out, home).read_text()
    assert "| latency | 1.200 | ≤ 1.15 | **no** |" in text
    assert "2 cores of a CPU" in text
    assert "| unary | 4 | 100.0 | 20 |" in text
    kept = {path.name for path in (home / "results").iterdir()}
    assert kept == {"latency.json", "native.json", "native.csv", "native-latency.png", "native-stages.png"}
    assert all(f"results/{name}" in text for name in kept if name.endswith(".png"))
    assert Result.read(home / "results" / "native.json") == result


def test_what_is_not_measured_again_stays_in_the_report(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Figure("latency", {ONLY: Measure((1.2,), 1.15, "lower")}, "make bench", HOST).write(tmp_path / "before")
    Result("native", "native", "make bench", HOST, (row(1),)).write(tmp_path / "before")
    report.write(tmp_path / "before", home)
    Figure("ingest", {ONLY: Measure((0.9,), 0.85, "higher")}, "make bench", HOST).write(tmp_path / "now")
    text = report.write(tmp_path / "now", home).read_text()
    assert "| latency | 1.200 |" in text
    assert "| ingest | 0.900 |" in text
    assert "| unary | 1 |" in text


def test_layouts_of_the_index_are_drawn(tmp_path: Path) -> None:
    out, home = tmp_path / "out", tmp_path / "home"
    layouts = {
        "dimension": (256.0, 256.0, 2048.0),
        "m": (16.0, 16.0, 16.0),
        "ef": (40.0, 64.0, 64.0),
        "exact_recall": (0.99, 0.99, 1.0),
        "recall": (0.98, 0.985, 0.99),
        "p50_ratio": (1.3, 1.5, 4.0),
        "bytes_per_row": (1700.0, 1700.0, 9000.0),
    }
    measures = {"p50_ratio": Measure((1.5,), 2.0, "lower"), "recall": Measure((0.985,), 0.98, "higher")}
    parts = {f"layout_{name}": column for name, column in layouts.items()}
    Figure("scale", measures, "make bench", HOST, parts).write(out)
    assert "![scale.png](results/scale.png)" in report.write(out, home).read_text()
    assert (home / "results" / "scale.png").stat().st_size > 10_000


def test_nothing_measured_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(report.NothingMeasured, match="make bench"):
        report.write(tmp_path, tmp_path / "home")
