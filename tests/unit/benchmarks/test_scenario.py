"""What the file of scenarios may say."""

from pathlib import Path

import pytest
from rich.console import Console

from semblance.benchmarks import runner
from semblance.benchmarks.scenario import ChainScenario, ScenarioError, Suite

ROOT = Path(__file__).resolve().parents[3]
SUITE = """
milvus = "lite"
items = 1
scenes = 1
[packages]
fp32 = "weights"
[figures]
rounds = 1
seconds = 1.0
in_flight = 1
"""
CHAIN = """
[[scenarios]]
name = "chain"
kind = "chain"
models = "fp32"
in_flight = [1, 2]
"""


def read(folder: Path, text: str) -> Suite:
    path = folder / "scenarios.toml"
    path.write_text(text)
    return Suite.read(path)


def test_the_committed_suite_is_valid_and_covers_every_kind() -> None:
    suite = Suite.read(ROOT / "benchmarks" / "scenarios.toml")
    assert {scenario.kind for scenario in suite.scenarios} == {"model", "chain", "native", "ingest", "milvus"}
    assert (suite.packages["fp32"] / "detector" / "model.onnx").is_file()


def test_a_scenario_is_not_called_like_a_figure(tmp_path: Path) -> None:
    assert not runner.FIGURES.keys() & {
        each.name for each in Suite.read(ROOT / "benchmarks" / "scenarios.toml").scenarios
    }
    suite = read(tmp_path, SUITE + CHAIN.replace('"chain"\nkind', '"overhead"\nkind'))
    with pytest.raises(ScenarioError, match="overhead"):
        runner.run([], suite, tmp_path / "out", Console(quiet=True))


def test_packages_are_relative_to_the_file(tmp_path: Path) -> None:
    suite = read(tmp_path, SUITE + CHAIN)
    with pytest.raises(ScenarioError, match=f"'fp32' are expected in {tmp_path / 'weights'}, which is not there"):
        suite.models("fp32")
    (tmp_path / "weights").mkdir()
    assert suite.models("fp32") == tmp_path / "weights"
    assert suite.models("null") == "null"
    [chain] = suite.scenarios
    assert isinstance(chain, ChainScenario)
    assert chain.in_flight == (1, 2)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SUITE + CHAIN + CHAIN, "same name: chain"),
        (SUITE + CHAIN.replace("fp32", "int8"), "no such models: int8"),
        (SUITE + CHAIN.replace('"chain"\nmodels', '"chains"\nmodels'), "chains"),
        (SUITE + CHAIN + "threads = 3\n", "threads"),
        (SUITE + CHAIN.replace("[1, 2]", "[0]"), "greater than 0"),
        (SUITE + CHAIN.replace("[1, 2]", "[]"), "at least 1"),
        (SUITE.replace("lite", "full"), "standalone"),
        ("not TOML", "scenarios.toml"),
    ],
)
def test_what_it_may_not_say_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        read(tmp_path, text)
