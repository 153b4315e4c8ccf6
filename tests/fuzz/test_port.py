"""A short run against the gRPC port of a service on fakes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import port, service


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[service.Served]:
    with service.on_fakes(tmp_path_factory.mktemp("service")) as running:
        yield running


def test_every_call_is_answered_or_refused_in_our_words(served: service.Served, tmp_path: Path) -> None:
    report = asyncio.run(port.explore(served.address, served.pid, 400, 0))
    for finding in report.findings:
        if finding.given is not None:
            finding.given.write(tmp_path / f"port-0-{finding.number}.json")
    assert not report.findings, f"{[finding.what for finding in report.findings]}; inputs are in {tmp_path}"
    assert report.inputs > 400
    assert "internal error" not in served.log.read_text()


def test_what_is_not_http_2_leaves_the_others_served(served: service.Served) -> None:
    report = asyncio.run(port.explore_wire(served.address, 100, 0, served.serving))
    assert (report.inputs, report.findings) == (100, [])


def test_a_stored_input_is_the_same_again(served: service.Served, tmp_path: Path) -> None:
    inputs = port.Inputs(port.methods(served.address), 0)
    for number in range(50):
        inputs[number].write(tmp_path / "input.json")
        assert port.Input.read(tmp_path / "input.json") == inputs[number]
