"""A tiny suite on null models: measured against the real Triton, Milvus Lite and the orchestrator."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from semblance.benchmarks import runner
from semblance.benchmarks.result import Result
from semblance.benchmarks.scenario import Suite

SUITE = """
milvus = "lite"
items = 3
scenes = 8

[packages]

[figures]
rounds = 2
seconds = 0.5
in_flight = 4

[[scenarios]]
name = "chain"
kind = "chain"
models = "null"
in_flight = [2]
load = [0.9]
seconds = 6.0
"""


# It starts the service twice; a busy host takes minutes for that.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    suite = folder / "scenarios.toml"
    suite.write_text(SUITE)
    runner.run(["overhead", "chain"], Suite.read(suite), folder / "out", Console(file=io.StringIO()))
    return folder / "out"


def test_a_figure_is_a_ratio_of_what_was_measured(out: Path) -> None:
    figure = json.loads((out / "overhead.json").read_text())
    parts = figure["parts"]
    ratios = [cpu / decode for cpu, decode in zip(parts["orchestrator_cpu_ms"], parts["decode_cpu_ms"], strict=True)]
    assert figure["samples"] == pytest.approx(ratios)
    assert len(ratios) == 2
    # It decodes the photo too.
    assert figure["value"] > 1
    assert all(0 < share < 0.5 for share in parts["client_share"])
    assert figure["environment"]["versions"]["tritonserver"] == "2.51.0"


def test_stages_add_up_to_the_latency(out: Path) -> None:
    rows = Result.read(out / "scenarios" / "chain.json").rows
    assert [row.setting["load"] for row in rows] == ["closed", "poisson"]
    for row in rows:
        assert row.rate > 0
        assert row.latency.p50 <= row.latency.p99
        assert row.stages.total == pytest.approx(row.latency.mean)
        assert min(row.stages.decode, row.stages.compute, row.stages.search) > 0


def test_a_wrong_name_is_told_before_anything_starts(tmp_path: Path) -> None:
    suite = tmp_path / "scenarios.toml"
    suite.write_text(SUITE)
    with pytest.raises(runner.UnknownName, match="speed; there are efficiency"):
        runner.run(["speed"], Suite.read(suite), tmp_path / "out", Console(file=io.StringIO()))
    assert not (tmp_path / "out").exists()


def test_an_overload_is_described(tmp_path: Path) -> None:
    suite = tmp_path / "scenarios.toml"
    suite.write_text(SUITE.replace("rounds = 2\nseconds = 0.5", "rounds = 1\nseconds = 0.3"))
    runner.run(["overload"], Suite.read(suite), tmp_path / "out", Console(file=io.StringIO()))
    figure = json.loads((tmp_path / "out" / "overload.json").read_text())
    value, parts = figure["value"], figure["parts"]
    assert value.keys() == figure["target"].keys()
    assert value["goodput_ratio_at_3x"] > 0
    assert len(parts["photos_per_second_at_saturation"]) == 5
    assert value["refusal_p99_ms"] > 0
    assert value["fair_share"] > 0
    assert parts["refused_per_second_at_5x"][0] > parts["refused_per_second_at_1x"][0]
    assert parts["polite_per_second"][0] > 0
