"""Whether a result is worse is judged by its samples, not by two numbers."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from semblance.benchmarks.command import bench
from semblance.benchmarks.comparison import compare
from semblance.benchmarks.figure import ONLY, Better, Figure, Measure
from tests.unit.benchmarks.test_figure import HOST


def figure(center: float, noise: float, seed: int, better: Better = "higher", count: int = 9) -> Figure:
    samples = np.random.default_rng(seed).normal(center, noise, count)
    return Figure("efficiency", {ONLY: Measure(tuple(map(float, samples)), 0.9, better)}, "make", HOST)


def test_a_clear_loss_is_worse() -> None:
    [verdict] = compare(figure(0.95, 0.01, 1), figure(0.85, 0.01, 2), 0.02)
    assert verdict.is_worse
    assert verdict.low <= 0.85 / 0.95 <= verdict.high


def test_the_side_of_the_bar_decides_what_is_worse() -> None:
    [verdict] = compare(figure(0.95, 0.01, 1, "lower"), figure(0.85, 0.01, 2, "lower"), 0.02)
    assert verdict.is_better
    assert not verdict.is_worse


def test_a_loss_within_the_tolerance_is_allowed() -> None:
    [verdict] = compare(figure(0.95, 0.001, 1), figure(0.94, 0.001, 2), 0.02)
    assert not verdict.is_worse


def test_the_same_loss_within_the_noise_is_no_verdict() -> None:
    [verdict] = compare(figure(0.95, 0.2, 1), figure(0.85, 0.2, 2), 0.02)
    assert not verdict.is_worse
    assert not verdict.is_better


def test_two_runs_of_the_same_are_seldom_worse() -> None:
    runs = [compare(figure(1, 0.05, seed), figure(1, 0.05, seed + 1000), 0.0)[0] for seed in range(40)]
    # One-sided, of 95 % intervals: 2.5 % are expected, and bootstrapped medians of nine are somewhat bolder.
    assert sum(verdict.is_worse for verdict in runs) <= 4


def test_what_can_not_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        compare(figure(1, 0.1, 1), figure(1, 0.1, 2, count=4), 0.02)
    other = Figure("latency", figure(1, 0.1, 1).measures, "make", HOST)
    with pytest.raises(ValueError, match="not the same figure"):
        compare(figure(1, 0.1, 1), other, 0.02)


def test_measures_of_too_few_samples_are_left_out_and_named(tmp_path: Path) -> None:
    def two(seed: int) -> Figure:
        one = figure(0.95, 0.01, seed).measures[ONLY]
        return Figure("scale", {"p50_ratio": one, "recall": Measure((0.98,), 0.98, "higher")}, "make", HOST)

    assert [verdict.name for verdict in compare(two(1), two(2), 0.02)] == ["p50_ratio"]
    paths = [str(two(seed).write(tmp_path / str(seed))) for seed in (1, 2)]
    said = CliRunner().invoke(bench, ["compare", *paths])
    assert "not judged, of less than 5 samples: recall" in said.output


def test_the_exit_status_is_for_a_gate(tmp_path: Path) -> None:
    a = figure(0.95, 0.01, 1).write(tmp_path / "a")
    b = figure(0.85, 0.01, 2).write(tmp_path / "b")
    same = CliRunner().invoke(bench, ["compare", str(a), str(a)])
    worse = CliRunner().invoke(bench, ["compare", str(a), str(b)])
    allowed = CliRunner().invoke(bench, ["compare", str(a), str(b), "--tolerance", "0.2"])
    assert (same.exit_code, worse.exit_code, allowed.exit_code) == (0, 1, 0)
    assert "worse" in worse.output
