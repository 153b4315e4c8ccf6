"""Cores, memory, shared memory and open files."""

from dataclasses import replace
from pathlib import Path

import pytest

from semblance.orchestrator.doctor import host
from semblance.orchestrator.doctor.examination import footprint_of
from semblance.orchestrator.doctor.finding import Outcome
from semblance.orchestrator.doctor.host import Footprint, Host
from semblance.orchestrator.sizing import memory_of_row
from tests.unit.orchestrator.doctor.fakes import MODELS, RELEASE, VECTORS, live, outcomes, settings

GIB = 2**30
HOST = Host(4.0, 16 * GIB, 8 * GIB, 65536)
SETTINGS = settings(pixel_threads=2)


def test_a_host_that_has_enough() -> None:
    assert outcomes(host.examine(HOST, SETTINGS)) == {}


@pytest.mark.parametrize(
    ("has", "given", "outcome"),
    [
        ({"cores": 1.0}, {"pixel_threads": 1}, Outcome.WARNING),
        ({"cores": 4.0}, {"pixel_threads": 5}, Outcome.WARNING),
        ({"cores": 4.0}, {"pixel_threads": 2, "workers": 3}, Outcome.WARNING),
        ({"cores": 2.5}, {"pixel_threads": 2}, Outcome.OK),
    ],
)
def test_cores(has: dict[str, float], given: dict[str, int], outcome: Outcome) -> None:
    found = host.cores(replace(HOST, **has), settings(**given))  # type: ignore[arg-type]
    assert found.outcome is outcome


def test_threads_that_decode_are_told_for_each_worker() -> None:
    found = host.cores(HOST, settings(pixel_threads=4, workers=2))
    assert "SEMBLANCE_PIXEL_THREADS to 2" in found.mend


@pytest.mark.parametrize(
    ("transport", "size", "outcome"),
    [
        ("auto", 64, Outcome.WARNING),
        ("shared_memory", 64, Outcome.FAILURE),
        ("bytes", 64, Outcome.OK),
        ("shared_memory", 80, Outcome.OK),
    ],
)
def test_the_64_mib_that_containers_have_are_too_little(transport: str, size: int, outcome: Outcome) -> None:
    found = host.shared_memory(replace(HOST, shared_memory=size * 2**20), settings(transport=transport))
    assert found.outcome is outcome
    if outcome is not Outcome.OK:
        assert "shm_size: 160m" in found.mend


def test_each_worker_and_each_triton_needs_shared_memory_of_its_own() -> None:
    small = replace(HOST, shared_memory=319 * 2**20)
    several = settings(workers=2, triton_url="a:1,b:1")
    assert host.shared_memory(small, several).outcome is Outcome.WARNING
    assert host.shared_memory(replace(small, shared_memory=320 * 2**20), several).outcome is Outcome.OK


def test_open_files() -> None:
    assert host.open_files(replace(HOST, open_files=1024)).outcome is Outcome.WARNING
    assert host.open_files(replace(HOST, open_files=-1)).outcome is Outcome.OK


@pytest.mark.parametrize(
    ("collections", "outcome"), [(10 * GIB, Outcome.OK), (13 * GIB, Outcome.WARNING), (15 * GIB, Outcome.FAILURE)]
)
def test_two_live_releases_must_fit_into_memory(collections: int, outcome: Outcome) -> None:
    found = host.memory(HOST, SETTINGS, Footprint(collections, 2 * GIB))
    assert found.outcome is outcome


def test_memory_is_not_judged_where_the_releases_are_not_known() -> None:
    assert host.memory(HOST, SETTINGS, Footprint(problem="the database can't be read")).outcome is Outcome.UNKNOWN


def test_the_next_release_is_counted_like_the_one_there_is() -> None:
    sizes = dict.fromkeys(MODELS, GIB)
    footprint = footprint_of(live(), sizes, milvus_local=True, triton_local=True)
    assert footprint.collections == 2 * VECTORS * memory_of_row(RELEASE.dimension, RELEASE.index)
    assert footprint.models == 4 * GIB
    elsewhere = footprint_of(live(), sizes, milvus_local=False, triton_local=False)
    assert (elsewhere.collections, elsewhere.models) == (0, 0)
    assert "Milvus' host needs" in elsewhere.counted


def test_a_container_has_what_its_control_group_allows(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/service"
    (tmp_path / "proc/self").mkdir(parents=True)
    group.mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\n")
    assert Host.read(tmp_path).memory == 16 * GIB
    (tmp_path / "proc/self/cgroup").write_text("1:name=systemd:/\n0::/service\n")
    (group / "cpu.max").write_text("50000 100000\n")
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text(f"{2 * GIB}\n")
    found = Host.read(tmp_path)
    assert (found.cores, found.memory, found.shared_memory) == (0.5, 2 * GIB, 0)
