"""What the soak test takes for growth."""

import asyncio
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from semblance.serving.process import running, this_environment
from tests.soak.watch import BOUNDS, Ended, Watch

NOBODY: Any = None


def watched(figure: str, values: list[float]) -> Watch:
    watch = Watch(NOBODY, NOBODY, Path())
    for second, value in enumerate(values):
        watch.seconds.append(float(second))
        for name, samples in watch.samples.items():
            samples.append(value if name == figure else 1.0)
    return watch


def test_a_leak_is_seen_through_noise_and_counted_from_the_end_of_the_warm_up() -> None:
    random = Random(0)
    leak = [200 + second * 0.5 + random.uniform(-10, 10) for second in range(180)]
    growth = watched("memory_mib", leak).growth(1 / 3)
    assert abs(growth.pop("memory_mib") - 119 * 0.5) < 6
    assert set(growth.values()) == {0.0}


def test_what_comes_and_goes_is_no_growth() -> None:
    random = Random(0)
    busy = [200 + random.uniform(-10, 10) + (random.random() < 0.2) * 500 for _ in range(180)]
    warming = [second * 3.0 for second in range(60)] + busy[60:]
    for values in (busy, warming):
        assert watched("memory_mib", values).growth(1 / 3)["memory_mib"] < BOUNDS["memory_mib"] / 3


def test_a_part_that_ends_is_told_of_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('Signal (11) received.')"]
    with running("Triton", command, log=tmp_path / "log", environment=this_environment()) as process:
        process.guard.wait()
        watch = Watch(process, process, Path())
        watch.seconds.append(7.0)
        with pytest.raises(Ended, match=r"^Triton has ended after 7 s; its log ends with\nSignal \(11\) received\.$"):
            asyncio.run(watch.look(1.0))
