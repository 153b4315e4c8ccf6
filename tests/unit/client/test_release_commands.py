"""`semblance release`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from semblance.client.commands.group import semblance
from semblance.client.commands.release_tables import in_bytes, in_time
from semblance.orchestrator.errors import Conflict, DeadlineExceeded, Overloaded
from semblance.orchestrator.evaluation import Evaluation
from semblance.orchestrator.figure import Figure
from semblance.orchestrator.measure import Measure
from semblance.orchestrator.release import Canary, IndexParameters, Registered, ReleaseState
from semblance.orchestrator.releases import Wanted
from tests.releases import CHANGED, FakeReleases, registered, served_in_a_thread

PATIENCE = 20.0

Run = Callable[..., Result]


@pytest.fixture
def releases() -> FakeReleases:
    return FakeReleases()


@pytest.fixture
def target(releases: FakeReleases) -> Iterator[str]:
    with served_in_a_thread(releases) as address:
        yield address


@pytest.fixture
def run(target: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("semblance.client.commands.release.POLL_SECONDS", 0.01)

    def invoke(*arguments: object, answer: str | None = None) -> Result:
        runner = CliRunner(env={"SEMBLANCE_TARGET": target, "COLUMNS": "160"})
        return runner.invoke(semblance, ["release", *map(str, arguments)], input=answer)

    return invoke


def cells(result: Result) -> list[list[str]]:
    """The rows of a table without its frame."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    lines = [line for line in result.stdout.splitlines() if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in line[1:-1].replace("┃", "│").split("│")] for line in lines]


def test_help_has_the_order_of_a_releases_life(run: Run) -> None:
    lines = run("--help").output.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in lines if line.strip()] == [
        *("plan", "create", "list", "show", "status", "shadow", "canary", "report", "activate", "rollback", "retire")
    ]
    assert not any(line.endswith("...") for line in lines)
    assert "release" in CliRunner().invoke(semblance, ["--help"]).output


def test_a_plan_says_what_it_takes(run: Run, releases: FakeReleases) -> None:
    index = ("--m", 32, "--ef-construction", 400, "--ef", 64, "--metric", "inner-product")
    options = ("--detector", 3, "--embedder", 2, *index)
    found = dict(cells(run("plan", "big", *options)))
    assert releases.asked == [Wanted("big", 3, 2, IndexParameters(32, 400, 64), metric=Measure.INNER_PRODUCT)]
    assert found["index"] == "HNSW by inner product, M 16, efConstruction 200, ef 128"
    assert found["detector"] == "detector 1"
    assert found["embedder"] == "embedder_384 2, 384 numbers"
    assert found["collection"] == "a new one"
    assert (found["items"], found["images"], found["rows"]) == ("40", "1,234", "5,678")
    assert (found["memory now"], found["memory while both stand"]) == ("3 GiB", "3.5 GiB")
    assert (found["memory after"], found["disk"]) == ("512 MiB", "1 GiB more")
    assert found["query nodes"] == "1 while both stand"
    assert found["time"] == "about 13 min"


def test_a_plan_with_the_same_index_takes_no_more(run: Run, releases: FakeReleases) -> None:
    found = dict(cells(run("plan", "--detector", 2, "--keep-index")))
    assert releases.asked == [Wanted(detector=2, keep_index=True)]
    assert found["collection"] == "the active release's is kept"
    assert found["memory now"] == found["memory while both stand"] == found["memory after"] == "3 GiB"
    assert found["time"] == "unknown"


def test_create_waits_until_the_release_is_ready(run: Run, releases: FakeReleases) -> None:
    result = run("create", "--embedder", 2)
    assert result.exit_code == 0, result.output
    begins, ends = result.stdout.splitlines()
    assert begins == "building r2: detector 1, embedder_384 2, 384 numbers, collection items_r2"
    assert ends == "r2 is ready"
    assert releases.asked == [Wanted(embedder=2), "r2", "r2"]


def test_create_shows_how_far_it_is(run: Run, releases: FakeReleases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    releases.steps = 30
    shown = run("create", "--embedder", 2).stderr
    assert "10/40" in shown
    assert "2.5 items/s, 12 s left" in shown
    assert "40/40" in shown


def test_create_returns_at_once_if_it_is_to(run: Run, releases: FakeReleases) -> None:
    result = run("create", "big", "--embedder", 2, "--no-wait")
    assert result.exit_code == 0
    assert result.stdout == "building big: detector 1, embedder_384 2, 384 numbers, collection items_big\n"
    assert releases.asked == [Wanted("big", embedder=2)]


def test_a_release_that_was_retired_meanwhile_is_status_1(run: Run, releases: FakeReleases) -> None:
    releases.ends_as = ReleaseState.RETIRED
    result = run("create", "--embedder", 2)
    assert result.exit_code == 1
    assert result.stdout.endswith("r2 is retired\n")


def test_a_problem_is_shown_once(run: Run, releases: FakeReleases) -> None:
    releases.problem, releases.steps = "Triton has no embedder_384 [2]", 5
    assert run("create", "--embedder", 2).stderr.count("Triton has no embedder_384 [2]") == 1


class BusyWhileBuilding(FakeReleases):
    async def create(self, wanted: Wanted) -> Registered:
        created = await super().create(wanted)
        self.failures = [Overloaded("too much to do"), Overloaded("too much to do"), DeadlineExceeded("too slow")]
        return created


def test_who_waits_outlasts_a_service_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.client.commands.release.POLL_SECONDS", 0.01)
    with served_in_a_thread(BusyWhileBuilding()) as target:
        result = CliRunner().invoke(semblance, ["release", "create", "--embedder", "2", "--target", target])
    assert result.exit_code == 0, result.output
    assert [result.stderr.count(text) for text in ("too much to do", "too slow")] == [1, 1]
    assert result.stdout.endswith("r2 is ready\n")


def test_what_can_not_be_created_is_one_line(run: Run, releases: FakeReleases) -> None:
    releases.failures = [Conflict("there is a release r2; name another")]
    result = run("create", "r2", "--embedder", 2)
    assert result.exit_code == 1
    assert result.stderr == "Error: there is a release r2; name another\n"


def test_ctrl_c_ends_the_waiting_alone(target: str, releases: FakeReleases) -> None:
    releases.steps = 10**6
    command = [str(Path(sys.executable).with_name("semblance")), "release", "create", "--embedder", "2"]
    process = subprocess.Popen([*command, "--target", target], stdout=-1, stderr=-1, text=True)
    try:
        give_up = time.monotonic() + PATIENCE
        while releases.asked.count("r2") < 2:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "r2 goes on building; watch it: semblance release show r2\n" in shown
    assert releases.known["r2"].state is ReleaseState.BUILDING


def test_all_are_listed_with_what_they_do(run: Run, releases: FakeReleases) -> None:
    releases.known["r2"] = replace(
        registered("r2", ReleaseState.READY, embedder=2), canary=Canary(5.0, ("alice", "bob")), shadow=10.0
    )
    run("create", "--embedder", 2, "--no-wait")
    releases.known["r0"] = registered("r0", ReleaseState.RETIRED)
    header, active, ready, building, retired = cells(run("list"))
    assert header == ["release", "state", "detector", "embedder", "metric", "traffic", "created", "progress"]
    assert active == ["r1", "active", "1", "1 (2048)", "cosine", "active", "05-01 12:00", "40 items"]
    assert ready[3:6] == ["2 (384)", "cosine", "canary 5 % + alice, bob, shadow 10 %"]
    assert building[1] == "building"
    assert building[-1] == "10 of 40 items, 12 s left"
    assert retired[-3:] == ["", "05-01 12:00", ""]


def test_show_tells_everything(run: Run, releases: FakeReleases) -> None:
    releases.problem, releases.steps = "Triton is away", 5
    run("create", "--embedder", 2, "--no-wait")
    output = run("show", "r2").output
    for text in (
        *("building since 2026-05-02 08:30:00 UTC", "embedder_384 2, 384 numbers", f"{2:064x}", "items_r2"),
        *("HNSW by cosine, M 16, efConstruction 200, ef 128", "10 of 40 items, 12 s left", "Triton is away"),
    ):
        assert text in output


def test_a_status_that_is_not_good_is_status_1(run: Run, releases: FakeReleases) -> None:
    result = run("status")
    assert result.exit_code == 0
    assert cells(result)[1] == ["Milvus", "rows of r1", "5,678", "5,678", "good"]
    releases.good = False
    result = run("status")
    assert result.exit_code == 1
    assert cells(result)[2] == ["orchestrator a:41", "serves", "active r1", "active r0", "wrong"]
    assert run("status", "--json").exit_code == 1


def test_a_shadow_begins_and_ends(run: Run, releases: FakeReleases) -> None:
    assert run("shadow", "r1", "--percent", 12.5).output == "r1 is a shadow of 12.5 % of searches\n"
    assert run("shadow", "r1", "--off").output == "r1 is no shadow\n"
    assert releases.asked == [("r1", 12.5), ("r1", 0.0)]


def test_a_canary_begins_and_ends(run: Run, releases: FakeReleases) -> None:
    shown = run("canary", "r1", "--percent", 5, "--callers", "alice, bob", "--callers", "eve").output
    assert shown == "r1 is a canary: 5 % + alice, bob, eve\n"
    assert run("canary", "r1", "--callers", "eve").output == "r1 is a canary: eve\n"
    assert run("canary", "r1", "--off").output == "r1 is no canary\n"
    assert releases.asked == [
        ("r1", Canary(5.0, ("alice", "bob", "eve"))),
        ("r1", Canary(0.0, ("eve",))),
        ("r1", None),
    ]


def test_a_report_is_a_table(run: Run) -> None:
    result = run("report", "r1")
    assert result.output.splitlines()[0].rstrip() == "r1 against r1"
    assert cells(result)[1:] == [
        ["overlap@10", "0.8125", "hits that both have, of ten"],
        ["p99_ratio", "–", "its p99 over the active release's"],
    ]
    assert "evaluated" not in result.output


def test_a_report_says_what_was_evaluated(run: Run, releases: FakeReleases) -> None:
    figure = Figure("recall@1", 0.75, "queries whose item is found first")
    releases.evaluations["r1"] = Evaluation("r0", (figure,), CHANGED)
    result = run("report", "r1")
    assert cells(result)[-1] == ["evaluation.recall@1", "0.75", "queries whose item is found first"]
    assert result.output.splitlines()[-1].rstrip() == "evaluated against r0, 2026-05-02 08:30 UTC"
    releases.evaluations["r1"] = Evaluation("", (figure,), CHANGED)
    assert "evaluated alone, 2026-05-02 08:30 UTC" in run("report", "r1").output
    told = json.loads(run("report", "r1", "--json").stdout)
    assert told["evaluation"]["against"] == ""


def test_activating_and_rolling_back(run: Run, releases: FakeReleases) -> None:
    releases.known["r2"] = registered("r2", ReleaseState.READY)
    result = run("activate", "r2", "--require", "overlap@10>=0.8, p99_ratio <= 1.3", "--require", "errors<1")
    assert result.exit_code == 0, result.output
    assert result.output == "r2 is active, r1 is ready; all orchestrators followed in 0.8 s\n"
    assert releases.asked == [("r2", ("overlap@10>=0.8", "p99_ratio <= 1.3", "errors<1"))]
    assert run("rollback").output == "r1 is active, r2 is ready; all orchestrators followed in 0.8 s\n"


def test_orchestrators_that_lag_are_named(run: Run, releases: FakeReleases) -> None:
    releases.known["r2"] = registered("r2", ReleaseState.READY)
    releases.lagging = ("a:41", "b:7")
    result = run("activate", "r2")
    assert result.exit_code == 1
    assert result.output == "r2 is active, r1 is ready; after 0.8 s these had not followed: a:41, b:7\n"
    assert run("rollback").exit_code == 1


def test_what_is_not_ready_is_not_activated(run: Run) -> None:
    result = run("activate", "r1")
    assert result.exit_code == 1
    assert result.stderr == "Error: release r1 is active, and only one that is ready can be activated\n"


def test_retire_asks_first(run: Run, releases: FakeReleases) -> None:
    releases.known["r2"] = registered("r2", ReleaseState.READY)
    refused = run("retire", "r2", answer="n\n")
    assert refused.exit_code == 1
    assert "Retire r2?" in refused.stderr
    assert releases.asked == []
    assert run("retire", "r2", answer="y\n").stdout == "r2 is retired\n"
    releases.known["r2"] = registered("r2", ReleaseState.READY)
    assert run("retire", "r2", "--yes").output == "r2 is retired\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "--embedder", 0), "--embedder"),
        (("plan", "--m", 1), "--m"),
        (("create", "--ef", 32_769), "--ef"),
        (("create", "--ef-construction", 0), "--ef-construction"),
        (("canary", "r1"), "give --percent, --callers or both, or --off"),
        (("canary", "r1", "--off", "--percent", 5), "give --percent, --callers or both, or --off"),
        (("canary", "r1", "--percent", 0), "--off ends it"),
        (("canary", "r1", "--percent", 101), "--percent"),
        (("canary", "r1", "--callers", "a,,b"), "an empty part"),
        (("shadow", "r1"), "give --percent or --off"),
        (("shadow", "r1", "--off", "--percent", 5), "give --percent or --off"),
        (("shadow", "r1", "--percent", 0), "--off ends it"),
        (("activate", "r1", "--require", "overlap@10>=0.8, p99"), "'p99' is no comparison of a figure"),
        (("activate", "r1", "--require", "overlap@10=0.8"), "is no comparison of a figure"),
        (("activate",), "Missing argument 'ID'"),
    ],
)
def test_arguments_that_can_not_be_meant(
    run: Run, releases: FakeReleases, arguments: tuple[object, ...], message: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert releases.asked == []


def test_every_command_prints_json(run: Run, releases: FakeReleases) -> None:
    def told(*arguments: object) -> Any:
        result = run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert told("plan", "--embedder", 2)["dimension"] == 384
    assert told("create", "--embedder", 2)["state"] == "ready"
    assert told("show", "r2")["created_at"] == "2026-05-01T12:00:30.250000+00:00"
    assert told("status")["good"] is True
    assert told("shadow", "r2", "--percent", 5)["shadow_percent"] == 5.0
    assert told("canary", "r2", "--percent", 5)["canary"] == {"percent": 5.0, "callers": []}
    assert told("report", "r2")["figures"][1]["value"] is None
    assert told("activate", "r2")["replaced"] == "r1"
    assert told("rollback")["active"]["release_id"] == "r1"
    assert told("retire", "r2", "--yes")["state"] == "retired"
    lines = run("list", "--json").stdout.splitlines()
    assert [json.loads(line)["release_id"] for line in lines] == ["r1", "r2"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (1000 * 2**10, "1000 KiB"),
        (2**29, "512 MiB"),
        (2**40, "1.0 TiB"),
    ],
)
def test_bytes_are_for_people(count: int, text: str) -> None:
    assert in_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3569, "59 min"), (3599, "1 h 0 min"), (5400, "1 h 30 min")],
)
def test_times_are_for_people(seconds: float, text: str) -> None:
    assert in_time(seconds) == text


def test_who_builds_is_shown(run: Run, releases: FakeReleases) -> None:
    releases.steps, releases.outside = 5, True
    run("create", "--embedder", 2, "--no-wait")
    assert "10 of 40 items, 12 s left, by an outside engine" in run("show", "r2").stdout
    assert json.loads(run("show", "r2", "--json").stdout)["progress"]["engine"] == "outside"
    releases.outside = False
    assert "outside" not in run("show", "r2").stdout
