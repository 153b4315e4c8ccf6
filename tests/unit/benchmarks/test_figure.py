"""A figure's file has the published shape, and reads back as it was."""

import json
from pathlib import Path

import pytest

from semblance.benchmarks.figure import ONLY, Figure, Measure
from semblance.benchmarks.host import Host

HOST = Host("a CPU", ("avx2",), 2, 8.0, "Linux", {"tritonserver": "2"}, "abc", ("quiet",))


def test_a_single_measure_is_plain(tmp_path: Path) -> None:
    figure = Figure("overhead", {ONLY: Measure((2.5, 1.5, 2.0), 2.0, "lower")}, "make", HOST, {"ms": (1.0, 2.0, 3.0)})
    path = figure.write(tmp_path / "out")
    content = json.loads(path.read_text())
    assert path.name == "overhead.json"
    assert (content["name"], content["value"], content["target"]) == ("overhead", 2.0, 2.0)
    assert (content["samples"], content["spread"]) == ([2.5, 1.5, 2.0], [1.75, 2.25])
    assert content["command"] == "make"
    assert content["environment"]["cores"] == 2
    assert Figure.read(path) == figure


def test_several_measures_are_objects_by_name(tmp_path: Path) -> None:
    measures = {"p50_ratio": Measure((1.5,), 2.0, "lower"), "recall": Measure((0.97,), 0.98, "higher")}
    path = Figure("scale", measures, "make", HOST).write(tmp_path)
    content = json.loads(path.read_text())
    assert content["value"] == {"p50_ratio": 1.5, "recall": 0.97}
    assert content["target"] == {"p50_ratio": 2.0, "recall": 0.98}
    assert Figure.read(path).measures == measures


@pytest.mark.parametrize(
    ("better", "target", "reached"),
    [("higher", 2.0, True), ("higher", 2.1, False), ("lower", 2.0, True), ("lower", 1.9, False)],
)
def test_the_bar_has_a_side(better: str, target: float, reached: bool) -> None:
    assert Measure((2.0,), target, better).reached is reached  # type: ignore[arg-type]


@pytest.mark.parametrize("samples", [(), (1.0, float("nan")), (float("inf"),)])
def test_a_measure_of_nothing_is_refused(samples: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        Measure(samples, 1.0, "higher")


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"samples": 3}'])
def test_another_file_is_not_a_figure(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a figure"):
        Figure.read(path)
