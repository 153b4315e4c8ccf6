"""What a scenario measured: a row for each setting, as a table, CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Self

import numpy as np
from rich.table import Table

from semblance.benchmarks.host import Host
from semblance.benchmarks.stages import Stages


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds."""

    p50: float
    p90: float
    p95: float
    p99: float
    mean: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        p50, p90, p95, p99 = (float(value) for value in np.percentile(seconds, (50, 90, 95, 99)))
        return cls(p50, p90, p95, p99, float(np.mean(seconds)))


@dataclass(frozen=True, slots=True)
class Row:
    """One setting of a scenario.

    Attributes:
        setting: such as {"in flight": 4}.
        rate: photos, rows or queries a second.
        cpu: seconds of each process for a photo, where it was measured.
        shares: parts of the cores' time that the client took, and that other processes took.
        note: what a reader must know, such as that the client did not keep up.
    """

    setting: Mapping[str, str | float]
    rate: float
    latency: Latency
    stages: Stages
    cpu: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def flat(self) -> dict[str, str | float]:
        """One level deep; times in milliseconds."""
        times = {f"{name}_ms": 1000 * seconds for name, seconds in asdict(self.latency).items()}
        times |= {f"{name}_ms": 1000 * seconds for name, seconds in asdict(self.stages).items()}
        times |= {f"{name}_cpu_ms": 1000 * seconds for name, seconds in self.cpu.items()}
        return {**self.setting, "rate": self.rate, **times, **self.shares, **({"note": self.note} if self.note else {})}


@dataclass(frozen=True, slots=True)
class Result:
    """`kind` is that of the scenario."""

    name: str
    kind: str
    command: str
    environment: Host
    rows: tuple[Row, ...]

    def write(self, folder: Path) -> None:
        """`<folder>/scenarios/<name>.json` in seconds, and `.csv` in milliseconds."""
        home = folder / "scenarios"
        home.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (home / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")
        rows = [row.flat() for row in self.rows]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with (home / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ValueError where the file is not a result."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = (
                Row(**{**row, "latency": Latency(**row["latency"]), "stages": Stages(**row["stages"])})
                for row in content["rows"]
            )
            return cls(**{**content, "environment": Host.of(content["environment"]), "rows": tuple(rows)})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a scenario's result: {error}; measure it again") from None

    def tables(self) -> tuple[Table, Table]:
        """Rates with latencies, and stages with CPU times; all times in milliseconds."""
        rates = Table(title=f"{self.name}: a second, and latency in ms")
        parts = Table(title=f"{self.name}: where a request's time goes, in ms")
        settings = list(self.rows[0].setting)
        costs = [f"{process} CPU" for process in self.rows[0].cpu]
        for column in (*settings, "rate", *(each.name for each in fields(Latency))):
            rates.add_column(column, justify="right")
        for column in (*settings, *(each.name for each in fields(Stages)), *costs):
            parts.add_column(column, justify="right")
        for row in self.rows:
            setting = [str(value) for value in row.setting.values()]
            rates.add_row(*setting, f"{row.rate:.1f}", *map(_milliseconds, _seconds(row.latency)))
            parts.add_row(*setting, *map(_milliseconds, (*_seconds(row.stages), *row.cpu.values())))
        return rates, parts


def _seconds(times: Latency | Stages) -> tuple[float, ...]:
    return astuple(times)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f}"
