"""One setting measured by stock perf_analyzer, and its CSV read."""

from __future__ import annotations

import base64
import csv
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.benchmarks import perf_analyzer
from semblance.benchmarks.result import Latency

# perf_analyzer measures until so many windows in a row agree; any three do, so that a setting takes the same time
# on a busy host as on a quiet one, and its spread is for the reader to judge.
WINDOWS = 3
ANY_SPREAD = 999
# It needs as long again for the first requests and the last.
LIMIT_SECONDS = 120.0
LATE = "was not able to keep up"


class SweepError(Exception):
    """perf_analyzer failed; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class Swept:
    """`rate` is of inferences: each row of a batch is one. `note` says where the client did not keep up."""

    rate: float
    latency: Latency
    note: str


def run(model: str, address: str, data: Path, seconds: float, arguments: Sequence[str], folder: Path) -> Swept:
    """`perf_analyzer -m MODEL -i grpc -u ADDRESS` with more arguments, for `seconds` in all.

    It sends what `data` holds, which `input_data` or `write_rows` wrote; `folder` is for its table.

    Raises:
        SweepError: it did not measure.
    """
    table = folder / "perf_analyzer.csv"
    table.unlink(missing_ok=True)
    window = max(1, round(1000 * seconds / WINDOWS))
    with perf_analyzer.installed() as tool:
        done = subprocess.run(
            [
                *(str(tool.program), "-m", model, "-i", "grpc", "-u", address, "--input-data", str(data)),
                *arguments,
                *("-p", str(window), "-s", str(ANY_SPREAD), "-f", str(table), "--verbose-csv"),
            ],
            env=tool.variables,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS + 10 * seconds,
        )
    if done.returncode or not table.exists():
        raise SweepError(f"perf_analyzer failed with status {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    [row] = read(table)
    late = next((line.strip() for line in done.stdout.splitlines() if LATE in line), "")
    return Swept(row.rate, row.latency, late.removeprefix("[WARNING] "))


def read(table: Path) -> list[Swept]:
    """The rows of perf_analyzer's CSV, whose times are in microseconds."""
    with table.open(newline="", encoding="utf-8") as file:
        return [Swept(float(row["Inferences/Second"]), _latency(row), "") for row in csv.DictReader(file)]


def _latency(row: Mapping[str, str]) -> Latency:
    seconds = {name: int(row[f"{name} latency"]) / 1e6 for name in ("p50", "p90", "p95", "p99", "Avg")}
    return Latency(mean=seconds.pop("Avg"), **seconds)


def write_rows(rows: NDArray[np.uint8], tensor: str, file: Path) -> None:
    """Writes what `--input-data` takes, so that perf_analyzer sends `rows`, uint8 [N, *dims], one after another."""
    elements = [{tensor: {"b64": base64.b64encode(row.tobytes()).decode()}} for row in rows]
    file.write_text(json.dumps({"data": elements}))
