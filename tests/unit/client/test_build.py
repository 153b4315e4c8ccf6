"""What `semblance release create --engine ray` does beside Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from semblance.client import Client, ConflictError, NewRelease
from semblance.client.commands import build as building
from semblance.client.commands import ray_engine
from semblance.client.commands.build import Build, build_block, created, prepare
from semblance.client.commands.connection import Connect
from semblance.client.commands.group import semblance
from semblance.client.commands.ray_engine import RayEngine
from semblance.orchestrator.errors import Conflict, DependencyUnavailable, NotFound, WrongState
from semblance.orchestrator.release import ReleaseState
from tests.releases import FakeBuilds, FakeReleases, registered, served_in_a_thread

NEW = NewRelease("r2", embedder=2, engine="outside")


@pytest.fixture
def releases() -> FakeReleases:
    return FakeReleases()


@pytest.fixture
def builds() -> FakeBuilds:
    made = FakeBuilds()
    made.lacking = ["cup", "mug"]
    return made


@pytest.fixture
def target(releases: FakeReleases, builds: FakeBuilds) -> Iterator[str]:
    with served_in_a_thread(releases, builds) as address:
        yield address


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    with Client(target) as connected:
        yield connected


def taken(releases: FakeReleases, state: ReleaseState) -> None:
    """r2 is there in that state."""
    releases.known["r2"] = replace(registered("r2", ReleaseState.BUILDING, embedder=2), state=state)
    releases.steps = 10
    releases._left["r2"] = 10
    releases.failures = [Conflict("there is a release r2")]


def test_a_release_that_is_being_built_is_gone_on_with(client: Client, releases: FakeReleases) -> None:
    taken(releases, ReleaseState.BUILDING)
    assert created(client, NEW).release_id == "r2"
    assert "r3" not in releases.known


@pytest.mark.parametrize("state", [ReleaseState.READY, ReleaseState.RETIRED])
def test_one_that_is_not_is_refused(client: Client, releases: FakeReleases, state: ReleaseState) -> None:
    taken(releases, state)
    with pytest.raises(ConflictError, match="there is a release r2"):
        created(client, NEW)


@pytest.mark.parametrize(
    "other", [replace(NEW, embedder=3), replace(NEW, detector=9), replace(NEW, m=32), replace(NEW, metric="l2")]
)
def test_one_that_is_another_is_refused(client: Client, releases: FakeReleases, other: NewRelease) -> None:
    taken(releases, ReleaseState.BUILDING)
    with pytest.raises(ConflictError, match="there is a release r2"):
        created(client, other)


def test_a_release_that_is_not_prepared_is_waited_for(
    client: Client, builds: FakeBuilds, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            builds.failures.clear()

    monkeypatch.setattr(building, "time", SimpleNamespace(sleep=sleep))
    builds.failures["cup"] = DependencyUnavailable("the models are loading", 3.0)
    done: list[None] = []
    assert prepare(client, Build("r2", lambda: done.append(None)))
    assert slept == [3.0, 3.0]
    assert builds.built == [("r2", "cup")]
    assert len(done) == 1


def test_a_block_has_the_error_of_each_item_that_failed(target: str, builds: FakeBuilds) -> None:
    builds.failures["mug"] = NotFound("its photo is lost")
    first, second = build_block(Connect(target, None, None, None), "r2", ["mug", "cup"])
    assert "its photo is lost" in str(first)
    assert second is None


def test_a_release_that_is_built_by_others_ends_it(client: Client, builds: FakeBuilds) -> None:
    builds.failures["cup"] = WrongState("release r2 is ready")
    running = Build("r2", lambda: None)
    assert not prepare(client, running)
    assert running.over
    assert not running.failures


def test_where_nothing_is_to_be_built_the_release_is_only_waited_for(
    target: str, builds: FakeBuilds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with --keep-index, and without Ray."""
    monkeypatch.setattr(ray_engine, "find_spec", lambda name: object())
    monkeypatch.setattr(RayEngine, "started", not_to_be_started)
    builds.lacking.clear()
    command = ["release", "create", "r2", "--target", target, "--detector", "2", "--keep-index", "--engine", "ray"]
    result = CliRunner().invoke(semblance, command)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "r2 is ready"


def not_to_be_started(engine: RayEngine) -> None:
    raise AssertionError("Ray was started")


def test_an_engine_does_not_leave_it_to_the_service(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "find_spec", lambda name: object())
    command = ["release", "create", "--target", target, "--engine", "ray", "--no-wait"]
    result = CliRunner().invoke(semblance, command)
    assert result.exit_code == 2
    assert "--no-wait leaves it to the service" in result.stderr
