"""Metrics as Prometheus gets them."""

from collections.abc import Iterable
from typing import Self
from urllib.request import urlopen

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

# What an answer may take, in seconds.
PATIENCE = 10


class Scrape:
    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    @classmethod
    def of(cls, listen: str) -> Self:
        with urlopen(f"http://{listen}/metrics", timeout=PATIENCE) as answer:
            return cls(text_string_to_metric_families(answer.read().decode()))

    def __call__(self, name: str, **labels: str) -> float | None:
        """A series' value; None where there is none."""
        return self.samples.get((name, frozenset(labels.items())))

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Of a metric, by the values of its labels in the order of their names."""
        return {
            tuple(value for _, value in sorted(labels)): count
            for (one, labels), count in self.samples.items()
            if one == name
        }
