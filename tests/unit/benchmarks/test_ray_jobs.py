"""What `make bench-ray` fails for."""

from __future__ import annotations

from pathlib import Path

import pytest

from semblance.benchmarks import ray_jobs
from semblance.benchmarks.figure import Figure, Measure
from semblance.benchmarks.host import Host


def written(folder: Path, **counts: int) -> Path:
    measures = {name: Measure((counts.get(name, 0),), 0, "lower") for name in ray_jobs.EXACT}
    # Throughput is noise on a shared host, and fails nothing.
    measures["per_worker_ratio"] = Measure((0.1,), ray_jobs.TARGET, "higher")
    return Figure(ray_jobs.NAME, measures, "make bench-ray", Host.here({})).write(folder)


def test_everything_once_is_well(tmp_path: Path) -> None:
    assert ray_jobs.main(written(tmp_path)) == 0


@pytest.mark.parametrize("name", ray_jobs.EXACT)
def test_what_is_doubled_or_missing_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert ray_jobs.main(written(tmp_path, **{name: 2})) == 1
    assert f"{name}: 2, expected 0" in capsys.readouterr().out
