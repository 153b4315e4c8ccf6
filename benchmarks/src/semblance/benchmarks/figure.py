"""The shape that every published figure has: medians of ratios, with what they were computed from."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from semblance.benchmarks.host import Host

Better = Literal["higher", "lower"]

# Of a figure that is a number and not an object of named ones.
ONLY = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """One ratio, measured in several rounds of one run, and the bar that it should reach."""

    samples: tuple[float, ...]
    target: float
    better: Better

    def __post_init__(self) -> None:
        if not self.samples or not all(map(math.isfinite, self.samples)):
            raise ValueError(f"the samples of a measure are {self.samples}; expected finite numbers, at least one")

    @property
    def value(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles between which the middle half of the samples lies."""
        if len(self.samples) == 1:
            return self.samples[0], self.samples[0]
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high

    @property
    def reached(self) -> bool:
        return self.value >= self.target if self.better == "higher" else self.value <= self.target


@dataclass(frozen=True, slots=True)
class Figure:
    """A published figure: its measures by name, or a single one under the name `ONLY`.

    Attributes:
        command: how to measure it again.
        parts: what the ratios were made of, one number a round: rates, seconds, shares of CPU.
    """

    name: str
    measures: Mapping[str, Measure]
    command: str
    environment: Host
    parts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Writes `<folder>/<name>.json`: name, value, target, better, samples, spread, command, environment, parts.

        `value`, `target`, `better`, `samples` and `spread` are plain where there is one measure, and objects by the
        measures' names where there are several.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(self._content(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def _content(self) -> dict[str, Any]:
        def by_name(attribute: str) -> Any:
            values = {name: getattr(measure, attribute) for name, measure in self.measures.items()}
            return values[ONLY] if set(values) == {ONLY} else values

        return {
            "name": self.name,
            **{key: by_name(key) for key in ("value", "target", "better", "samples", "spread")},
            "command": self.command,
            "environment": asdict(self.environment),
            "parts": dict(self.parts),
        }

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ValueError where the file is not a figure."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            columns = [content[key] for key in ("samples", "target", "better")]
            names = content["samples"] if isinstance(content["samples"], dict) else None
            rows = {ONLY: columns} if names is None else {name: [column[name] for column in columns] for name in names}
            return cls(
                content["name"],
                {name: Measure(tuple(samples), target, better) for name, (samples, target, better) in rows.items()},
                content["command"],
                Host.of(content["environment"]),
                {name: tuple(values) for name, values in content["parts"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a figure ({type(error).__name__}: {error}); expected one of `semblance bench run`"
            ) from None
