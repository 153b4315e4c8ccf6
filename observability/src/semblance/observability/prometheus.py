"""A Prometheus of its own: its programs, the server, and its HTTP API."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from semblance.serving import ports
from semblance.serving.process import Process, running, this_environment

READY_SECONDS = 30.0
ANSWER_SECONDS = 30.0


class MissingProgram(Exception):
    """Prometheus is not installed; the message says what brings it."""


class QueryRefused(Exception):
    """Prometheus' own words on a query that it can't answer."""


@dataclass(frozen=True, slots=True)
class Series:
    """`points` are pairs of Unix time and value; those that are no number are left out."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


def program(name: str) -> Path:
    """`prometheus` or `promtool`: the host's, or the unpacked package's in the environment beside this one.

    Raises:
        MissingProgram: there is neither.
    """
    if found := shutil.which(name):
        return Path(found)
    unpacked = Path(sys.prefix).parent / "prometheus" / "usr" / "bin" / name
    if not unpacked.exists():
        raise MissingProgram(f"{name} is neither on PATH nor in {unpacked.parent}; `make setup-observe` brings it")
    return unpacked


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    process: Process
    url: str

    def series(self, expression: str, begin: float, end: float, step: float) -> list[Series]:
        """The series of an expression between two Unix times, by so many seconds; those without a number are left out.

        Raises:
            QueryRefused
        """
        found = self._ask("query_range", query=expression, start=begin, end=end, step=step)["result"]
        series = [
            Series(
                {name: value for name, value in each["metric"].items() if name != "__name__"},
                tuple((time, float(value)) for time, value in each["values"] if math.isfinite(float(value))),
            )
            for each in found
        ]
        return [each for each in series if each.points]

    def names(self) -> frozenset[str]:
        """Of all metrics that were ever scraped."""
        return frozenset(self._ask("label/__name__/values"))

    def healthy(self) -> frozenset[str]:
        """The jobs whose targets' last scrape went well."""
        targets = self._ask("targets")["activeTargets"]
        return frozenset(target["labels"]["job"] for target in targets if target["health"] == "up")

    def alerts(self) -> dict[str, str]:
        """The state, pending or firing, of the alerts whose condition holds."""
        return {each["labels"]["alertname"]: each["state"] for each in self._ask("alerts")["alerts"]}

    def is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=1.0):
                return True
        except (URLError, TimeoutError):
            return False

    def _ask(self, what: str, **parameters: object) -> Any:
        try:
            with urlopen(f"{self.url}/api/v1/{what}?{urlencode(parameters)}", timeout=ANSWER_SECONDS) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            raise QueryRefused(json.load(error)["error"]) from None


@contextmanager
def started(configuration: str, folder: Path) -> Iterator[Prometheus]:
    """Runs Prometheus with a configuration in YAML and its data in `folder`, on a free port.

    Raises:
        MissingProgram
        StartError: it did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "prometheus.yml"
    file.write_text(configuration, encoding="utf-8")
    address = f"{ports.LOOPBACK}:{ports.free(1)[0]}"
    command: list[str | Path] = [
        program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    log = folder / "prometheus.log"
    with running("Prometheus", command, log=log, environment=this_environment(), folder=folder) as process:
        server = Prometheus(process, f"http://{address}")
        process.wait_until(server.is_ready, READY_SECONDS)
        yield server
