"""What the soak test takes for growth."""

from pathlib import Path
from random import Random

from tests.soak.watch import BOUNDS, Watch


def watched(figure: str, values: list[float]) -> Watch:
    watch = Watch(0, 0, Path())
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
