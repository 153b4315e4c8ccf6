"""All parts together: none holds up another."""

import json
from io import StringIO

import pytest
from click.testing import CliRunner
from rich.console import Console

from semblance.orchestrator.doctor import examination, report
from semblance.orchestrator.doctor.command import doctor
from semblance.orchestrator.doctor.database import Stores
from semblance.orchestrator.doctor.examination import Parts, examine
from semblance.orchestrator.doctor.finding import Check, Finding, Outcome
from semblance.orchestrator.doctor.host import Host
from semblance.orchestrator.testing import MemoryMetadataStore, MemoryRegistry
from tests.unit.orchestrator.doctor.fakes import (
    RELEASE,
    FakeDatabase,
    FakeImages,
    FakeMilvus,
    FakeRepository,
    FakeTriton,
    outcomes,
    server,
    settings,
)

SETTINGS = settings(pixel_threads=1)


class World:
    def __init__(self) -> None:
        self.triton = FakeTriton()
        self.milvus = FakeMilvus()
        self.database = FakeDatabase()
        self.images = FakeImages()
        self.repository = FakeRepository()
        metadata = MemoryMetadataStore()
        self.registry = MemoryRegistry(metadata)
        self.milvus.rows = 0
        self.parts = Parts(
            Host(4.0, 16 * 2**30, 2**30, 65536),
            self.repository,
            [server(self.triton)],
            self.milvus,
            True,
            Stores(self.database, metadata, self.registry),
            self.images,
        )


@pytest.fixture
async def world() -> World:
    made = World()
    await made.registry.add_first_release(RELEASE)
    return made


UNCOMPARED = {f"answers of {name} version 1": Outcome.UNKNOWN for name in ("detector", "embedder")}


async def test_all_is_well(world: World) -> None:
    findings = await examine(SETTINGS, world.parts)
    assert outcomes(findings) == UNCOMPARED
    assert list(dict.fromkeys(finding.part for finding in findings)) == [
        "host",
        "settings",
        "model repository",
        "Triton at t:8001",
        "Milvus",
        "database",
        "image store",
    ]


async def test_what_is_down_keeps_nothing_else_from_being_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semblance.orchestrator.doctor.database.PATIENCE", 0.01)
    world.database.hangs = True
    world.milvus.down = True
    found = await examine(SETTINGS, world.parts)
    assert outcomes(found) == UNCOMPARED | {"reach": Outcome.FAILURE, "memory": Outcome.UNKNOWN}
    assert {finding.part for finding in found if finding.outcome is Outcome.FAILURE} == {"Milvus", "database"}


async def test_what_hangs_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "PATIENCE", 0.2)
    world.images.hangs = True
    found = await examine(SETTINGS, world.parts)
    assert outcomes(found) == UNCOMPARED | {"time": Outcome.FAILURE}


CHECK = Check("Milvus", "rows", "nobody finds them")
FINDINGS = [CHECK.ok("3"), CHECK.warning("2", "look [again]"), CHECK.failure("1", "repair"), CHECK.unknown("?")]


def test_people_are_told_why_and_how_to_mend() -> None:
    console = Console(width=100, record=True, file=StringIO())
    console.print(report.table(FINDINGS))
    text = console.export_text()
    assert text.count("why it matters: nobody finds them") == 2
    assert "mend: look [again]" in text
    assert report.summary(FINDINGS) == "1 ok, 1 warning, 1 failure, 1 unknown"
    assert report.summary([]) == "0 ok, 0 warnings, 0 failures"


def test_programs_get_every_finding() -> None:
    assert [Finding(**each) for each in json.loads(report.as_json(FINDINGS))] == FINDINGS


@pytest.mark.parametrize("flag", ["--image-store=ftp://nowhere", "--workers=many", "--metadata-url=mysql://x/y"])
def test_a_setting_that_can_not_be_is_a_usage_error(flag: str) -> None:
    assert CliRunner().invoke(doctor, [flag]).exit_code == 2
