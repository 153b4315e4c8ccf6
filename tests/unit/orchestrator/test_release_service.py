"""`ReleaseService`, asked through the client: what goes in and comes out, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest

from semblance.client import (
    AsyncClient,
    AsyncReleases,
    Canary,
    Client,
    ConflictError,
    ContractMismatchError,
    DeadlineExceededError,
    Evaluation,
    Figure,
    Finding,
    IndexParameters,
    InternalError,
    InvalidArgumentError,
    Metric,
    NewRelease,
    NotFoundError,
    OverloadedError,
    Release,
    ReleaseModel,
    ReleasePlan,
    ReleaseProgress,
    ReleaseReport,
    Releases,
    ReleaseState,
    ReleaseStatus,
    SemblanceError,
    Switch,
    UnavailableError,
    WrongStateError,
)
from semblance.client.testing import FakeSemblance
from semblance.orchestrator import errors, figure
from semblance.orchestrator import release as domain
from semblance.orchestrator.grpc_edge.boundary import DeadlinePolicy
from semblance.orchestrator.measure import Measure
from semblance.orchestrator.releases import Wanted
from semblance.v1 import release_pb2
from semblance.v1.release_pb2_grpc import ReleaseServiceStub
from tests.releases import CHANGED, CREATED, ITEMS, WINDOW, FakeBuilds, FakeReleases, registered, served

DETECTOR = ReleaseModel("detector", 1, f"{1:064x}")
EMBEDDER = ReleaseModel("embedder", 1, f"{1:064x}")
SMALLER = ReleaseModel("embedder_384", 2, f"{2:064x}")
R1 = Release(
    "r1",
    ReleaseState.ACTIVE,
    DETECTOR,
    EMBEDDER,
    2048,
    IndexParameters(16, 200, 128, "cosine"),
    "items_r1",
    CREATED,
    CHANGED,
    replaced="",
    canary=None,
    shadow_percent=0.0,
    progress=ReleaseProgress(ITEMS, 0, 0.0, 0.0, ""),
)

Ask = Callable[..., Any]


@pytest.fixture
def releases() -> FakeReleases:
    return FakeReleases()


@pytest.fixture
def builds() -> FakeBuilds:
    return FakeBuilds()


@pytest.fixture
async def target(releases: FakeReleases, builds: FakeBuilds) -> AsyncIterator[str]:
    async with served(releases, builds=builds) as address:
        yield address


@pytest.fixture(params=[Client, AsyncClient])
async def ask(request: pytest.FixtureRequest, target: str) -> AsyncIterator[Ask]:
    """Calls a method of `releases` of both clients, by its name."""
    if request.param is AsyncClient:
        async with AsyncClient(target) as client:

            async def ask(method: str, *arguments: object, **options: object) -> Any:
                return await getattr(client.releases, method)(*arguments, **options)

            yield ask
        return
    with Client(target) as waiting:

        async def ask_in_a_thread(method: str, *arguments: object, **options: object) -> Any:
            return await asyncio.to_thread(getattr(waiting.releases, method), *arguments, **options)

        yield ask_in_a_thread


async def test_a_plan(ask: Ask, releases: FakeReleases) -> None:
    plan = await ask("plan", NewRelease("big", detector=3, embedder=2, m=32, ef_construction=400, ef=64, metric="l2"))
    assert releases.asked == [Wanted("big", 3, 2, domain.IndexParameters(32, 400, 64), metric=Measure.L2)]
    sizes = (ITEMS, 1234, 5678, 3 * 2**30, 2**29, 2**30, 1)
    index = IndexParameters(16, 200, 128, "l2")
    assert plan == ReleasePlan("big", DETECTOR, SMALLER, 384, True, *sizes, seconds=754.0, index=index)


@pytest.mark.parametrize("metric", ["cosine", "inner_product", "l2"])
async def test_an_index_has_a_metric(ask: Ask, releases: FakeReleases, metric: Metric) -> None:
    assert (await ask("create", NewRelease(metric=metric))).index.metric == metric
    assert releases.asked == [Wanted(metric=Measure(metric))]
    assert (await ask("get", "r2")).index.metric == metric


@pytest.mark.parametrize("metric", ["manhattan", "hamming"])
async def test_what_no_index_finds_by_is_refused(ask: Ask, metric: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"no index finds the nearest by {metric}: use cosine, inner_prod"):
        await ask("create", NewRelease(metric=metric))
    with pytest.raises(InvalidArgumentError, match="metric is 'chebyshev', but must be one of 'cosine'"):
        await ask("create", NewRelease(metric="chebyshev"))  # type: ignore[arg-type]


async def test_what_is_not_named_is_the_active_releases(ask: Ask, releases: FakeReleases) -> None:
    await ask("plan", NewRelease(keep_index=True, detector=2))
    await ask("plan", NewRelease(ef=64))
    assert releases.asked == [Wanted(detector=2, keep_index=True), Wanted(index=domain.IndexParameters(0, 0, 64))]


async def test_a_time_that_is_not_known_is_none(ask: Ask) -> None:
    assert (await ask("plan", NewRelease(keep_index=True, detector=2))).seconds is None


async def test_a_release_is_created_and_gets_ready(ask: Ask) -> None:
    created = await ask("create", NewRelease(embedder=2))
    assert (created.release_id, created.state, created.embedder) == ("r2", ReleaseState.BUILDING, SMALLER)
    assert (created.dimension, created.collection, created.progress) == (384, "items_r2", None)
    building = await ask("get", "r2")
    assert building.progress == ReleaseProgress(ITEMS, 30, 2.5, remaining=12.0, problem="", engine="keeper")
    assert building.progress.settled == ITEMS - 30
    assert (await ask("get", "r2")).state is ReleaseState.READY


async def test_a_release_is_whole(ask: Ask) -> None:
    assert await ask("get", "r1") == R1


async def test_all_are_listed_and_the_retired_ones_have_no_progress(ask: Ask, releases: FakeReleases) -> None:
    await ask("create", NewRelease(embedder=2))
    releases.problem = "Triton is away"
    retired = await ask("create", NewRelease("r0"))
    assert (await ask("retire", "r0")).state is ReleaseState.RETIRED
    first, building, last = await ask("list")
    assert first == R1
    assert building.progress.problem == "Triton is away"
    assert (last.release_id, last.state, last.progress) == (retired.release_id, ReleaseState.RETIRED, None)


async def test_activating_and_rolling_back(ask: Ask, releases: FakeReleases) -> None:
    releases.known["r2"] = registered("r2", domain.ReleaseState.READY)
    releases.lagging = ("a:41", "b:7")
    switch = await ask("activate", "r2", require=["overlap@10>=0.8", "p99_ratio<=1.3"])
    assert isinstance(switch, Switch)
    assert releases.asked == [("r2", ("overlap@10>=0.8", "p99_ratio<=1.3"))]
    assert (switch.active.release_id, switch.active.state, switch.active.replaced) == ("r2", ReleaseState.ACTIVE, "r1")
    assert (switch.replaced, switch.seconds, switch.lagging) == ("r1", 0.75, ("a:41", "b:7"))
    assert (await ask("roll_back")).active.release_id == "r1"


async def test_a_canary_and_a_shadow_begin_and_end(ask: Ask, releases: FakeReleases) -> None:
    changed = await ask("canary", "r1", percent=2.5, callers=["bob", "alice", "bob"])
    assert changed.canary == Canary(2.5, ("bob", "alice"))
    assert (await ask("shadow", "r1", percent=10)).shadow_percent == 10.0
    assert (await ask("canary", "r1", callers=["bob"])).canary == Canary(0.0, ("bob",))
    assert (await ask("canary", "r1")).canary is None
    assert (await ask("shadow", "r1", percent=0)).shadow_percent == 0.0
    assert releases.asked[-2:] == [("r1", None), ("r1", 0.0)]


async def test_a_report_tells_what_it_does_not_know(ask: Ask) -> None:
    overlap = Figure("overlap@10", 0.8125, "hits that both have, of ten")
    unknown = Figure("p99_ratio", None, "its p99 over the active release's")
    assert await ask("report", "r1") == ReleaseReport("r1", "r1", (overlap, unknown), None)


async def test_a_report_ends_with_what_was_recorded(ask: Ask, releases: FakeReleases) -> None:
    recall = Figure("recall@1", 0.75, "queries whose item is found first")
    assert await ask("record_evaluation", "r1", [recall], against="r1") is None
    assert releases.asked == [("r1", "r1", (figure.Figure("recall@1", 0.75, recall.meaning),))]
    report = await ask("report", "r1")
    assert report.figures[2:] == (Figure("evaluation.recall@1", 0.75, recall.meaning),)
    assert report.evaluation == Evaluation("r1", CHANGED)
    await ask("record_evaluation", "r1", [recall])
    assert (await ask("report", "r1")).evaluation == Evaluation("", CHANGED)


async def test_what_can_not_be_recorded_is_refused(ask: Ask) -> None:
    nothing = Figure("recall@1", None, "")
    with pytest.raises(InvalidArgumentError, match="recall@1 must have a finite number"):
        await ask("record_evaluation", "r1", [nothing])
    with pytest.raises(InvalidArgumentError, match="can't be a release's id"):
        await ask("record_evaluation", "r1", [replace(nothing, value=1.0)], against="R 1")
    with pytest.raises(InvalidArgumentError, match="figures is"):
        await ask("record_evaluation", "r1", [replace(nothing, value="much")])  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="no release 'r9'"):
        await ask("record_evaluation", "r9", [replace(nothing, value=1.0)])


async def test_the_status_is_good_where_all_findings_are(ask: Ask, releases: FakeReleases) -> None:
    rows = Finding("Milvus", "rows of r1", "5,678", "5,678", True)
    assert (await ask("status")).good
    releases.good = False
    serves = Finding("orchestrator a:41", "serves", "active r1", "active r0", False)
    assert await ask("status") == ReleaseStatus(False, (rows, serves))


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (errors.InvalidArgument("nothing would change"), InvalidArgumentError),
        (errors.Conflict("there is an r2"), ConflictError),
        (errors.WrongState("r2 is building"), WrongStateError),
        (errors.ContractMismatch("the file of embedder 2 was changed"), ContractMismatchError),
        (errors.NotFound("there is no embedder 2"), NotFoundError),
        (errors.DependencyUnavailable("Milvus is away"), UnavailableError),
    ],
)
async def test_failures_have_their_types_and_words(
    ask: Ask, releases: FakeReleases, raised: Exception, kind: type[SemblanceError]
) -> None:
    releases.failures = [raised]
    with pytest.raises(kind, match=str(raised)) as error:
        await ask("create", NewRelease(embedder=2))
    assert type(error.value) is kind


async def test_a_defect_is_told_by_an_id(ask: Ask, releases: FakeReleases) -> None:
    releases.failures = [KeyError("secret")]
    with pytest.raises(InternalError, match=r"internal error [0-9a-f]{12}"):
        await ask("status")


@pytest.mark.parametrize(
    ("method", "arguments", "answers"),
    [
        ("create", (NewRelease(embedder=2),), 1),
        ("activate", ("r1",), 1),
        ("roll_back", (), 1),
        ("retire", ("r1",), 1),
        ("get", ("r1",), 2),
        ("status", (), 2),
    ],
)
async def test_what_would_do_a_thing_twice_is_not_tried_again(
    ask: Ask, releases: FakeReleases, method: str, arguments: tuple[object, ...], answers: int
) -> None:
    releases.failures = [errors.DependencyUnavailable("a moment")]
    if answers == 1:
        with pytest.raises(UnavailableError, match="a moment"):
            await ask(method, *arguments)
    else:
        await ask(method, *arguments)
    assert len(releases.asked) == answers


LONGEST = "a" + "_" * 31


@pytest.mark.parametrize("release_id", ["a", "r2", "night_2026", LONGEST])
async def test_an_id_that_a_release_can_have(ask: Ask, release_id: str) -> None:
    assert (await ask("plan", NewRelease(release_id))).release_id == release_id


@pytest.mark.parametrize("release_id", ["R2", "2r", "_r", "r-2", "r.2", "r 2", "ä", "r2\n", LONGEST + "a"])
async def test_an_id_that_no_release_can_have(ask: Ask, releases: FakeReleases, release_id: str) -> None:
    for method in ("plan", "create"):
        with pytest.raises(InvalidArgumentError, match=r"can't be a release's id.*digits and underscores"):
            await ask(method, NewRelease(release_id))
    for method in ("get", "activate", "canary", "report", "retire"):
        with pytest.raises(InvalidArgumentError, match="can't be a release's id"):
            await ask(method, release_id)
    with pytest.raises(InvalidArgumentError, match="can't be a release's id"):
        await ask("shadow", release_id, percent=1)
    assert releases.asked == []


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (NewRelease(m=1), "m of the index is 1, and must be 2 to 2048"),
        (NewRelease(m=2049), "m of the index is 2049"),
        (NewRelease(ef_construction=2**31), "ef_construction of the index is 2147483648, and must be 1 to 2147483647"),
        (NewRelease(ef=32_769), "ef of the index is 32769, and must be 1 to 32768"),
        (NewRelease(m=-1), "m is -1, but must be a whole number"),
        (NewRelease(embedder=2**32), "embedder is 4294967296, but must be the number of a published version"),
        (NewRelease(detector="2"), "detector is '2'"),  # type: ignore[arg-type]
        (NewRelease(7), "release_id is 7"),  # type: ignore[arg-type]
        (NewRelease(keep_index="yes"), "keep_index is 'yes'"),  # type: ignore[arg-type]
    ],
)
async def test_a_release_that_can_not_be(ask: Ask, releases: FakeReleases, new: NewRelease, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        await ask("create", new)
    assert releases.asked == []


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("canary", {"percent": 100.5}, "percent is 100.5, and must be 0 to 100"),
        ("canary", {"percent": -1}, "percent is -1"),
        ("canary", {"percent": float("nan")}, "percent is nan"),
        ("canary", {"callers": [""]}, "'' is no caller's name"),
        ("canary", {"callers": ["a\nb"]}, "is no caller's name"),
        ("canary", {"callers": ["a" * 257]}, "is no caller's name"),
        ("canary", {"callers": [f"c{number}" for number in range(101)]}, "101 callers are named, and at most 100"),
        ("canary", {"callers": "bob"}, "callers is 'bob', but must be a sequence of names"),
        ("canary", {"percent": "5"}, "percent is '5', but must be a number"),
        ("shadow", {"percent": 101}, "percent is 101, and must be 0 to 100"),
        ("shadow", {"percent": float("inf")}, "percent is inf"),
        ("activate", {"require": ["a>1"] * 1025}, "the requirements have 4,100 characters, and at most 4,096 are read"),
        ("activate", {"require": "overlap@10>=0.8"}, "require is 'overlap@10>=0.8', but must be a sequence"),
    ],
)
async def test_shares_and_requirements_that_can_not_be(
    ask: Ask, releases: FakeReleases, method: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        await ask(method, "r1", **options)
    assert releases.asked == []


async def test_a_refusal_quotes_the_beginning_of_what_it_refuses(ask: Ask) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        await ask("get", "\0" * 10_000)
    assert len(str(raised.value)) < 200


async def test_a_call_ends_at_its_deadline(releases: FakeReleases) -> None:
    """The service's own, where a caller names none."""
    releases.held.clear()
    async with served(releases, DeadlinePolicy(default=0.05, maximum=60.0)) as target:
        async with grpc.aio.insecure_channel(target) as channel:
            stub: Any = ReleaseServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.Status(release_pb2.StatusRequest())
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert raised.value.details() == "the request's deadline has passed"
        async with AsyncClient(target, timeout=0.05) as client:
            with pytest.raises(DeadlineExceededError):
                await client.releases.get("r1")


async def test_a_state_of_a_newer_service_is_named(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.orchestrator.grpc_edge.release_translate._STATES", {"active": 99})
    with pytest.raises(InternalError, match="r1 is in a state that this client does not know"):
        await ask("get", "r1")


def test_a_service_without_releases_says_so() -> None:
    with FakeSemblance() as fake, Client(fake.target) as client, pytest.raises(InternalError, match="UNIMPLEMENTED"):
        client.releases.list()


def test_both_clients_offer_the_same() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Releases) == public(AsyncReleases)


@pytest.fixture(params=[Client, AsyncClient])
async def listed(request: pytest.FixtureRequest, target: str) -> AsyncIterator[Ask]:
    """The same of a method that gives one after the other: all of them."""
    if request.param is AsyncClient:
        async with AsyncClient(target) as client:

            async def all_of(method: str, *arguments: object, **options: object) -> Any:
                return [each async for each in getattr(client.releases, method)(*arguments, **options)]

            yield all_of
        return
    with Client(target) as waiting:

        async def all_of_in_a_thread(method: str, *arguments: object, **options: object) -> Any:
            return await asyncio.to_thread(lambda: list(getattr(waiting.releases, method)(*arguments, **options)))

        yield all_of_in_a_thread


async def test_an_engine_is_named(ask: Ask, releases: FakeReleases) -> None:
    await ask("create", NewRelease(engine="outside"))
    releases.outside = True
    assert releases.asked == [Wanted(outside=True)]
    assert (await ask("get", "r2")).progress.engine == "outside"
    with pytest.raises(InvalidArgumentError, match="engine is 'ray', but must be one of 'keeper', 'outside'"):
        await ask("create", NewRelease(engine="ray"))  # type: ignore[arg-type]


async def test_an_engine_that_there_is_not_is_refused(target: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        create: Any = ReleaseServiceStub(channel).Create
        with pytest.raises(grpc.aio.AioRpcError, match="engine is 7, and must be KEEPER or OUTSIDE"):
            await create(release_pb2.CreateReleaseRequest(engine=7))  # type: ignore[arg-type]


async def test_what_is_pending_is_listed_over_pages(listed: Ask, builds: FakeBuilds) -> None:
    builds.lacking = [f"i{number:04}" for number in range(2001)]
    assert await listed("pending", "r2") == builds.lacking
    builds.lacking = []
    assert await listed("pending", "r2") == []
    with pytest.raises(InvalidArgumentError, match="can't be a release's id"):
        await listed("pending", "R 2")


async def test_each_item_that_is_built_has_its_own_answer(listed: Ask, builds: FakeBuilds) -> None:
    builds.failures = {
        "gone": errors.NotFound("there is no item"),
        "early": errors.DependencyUnavailable("not prepared yet", 3.0),
        "many": errors.Overloaded("too many", 0.5),
        "late": errors.WrongState("release r2 is ready"),
        "broken": RuntimeError("a secret"),
    }
    answers = dict(await listed("build_items", "r2", ["red", *builds.failures, "x" * 300, "green"]))
    assert (answers["red"], answers["green"]) == (None, None)
    assert sorted(builds.built) == [("r2", "green"), ("r2", "red")]
    found = {item_id: type(error) for item_id, error in answers.items() if error is not None}
    assert found == {
        "gone": NotFoundError,
        "early": UnavailableError,
        "many": OverloadedError,
        "late": WrongStateError,
        "broken": InternalError,
        "x" * 300: InvalidArgumentError,
    }
    assert (answers["early"].retry_delay, answers["many"].retry_delay) == (3.0, 0.5)
    assert str(answers["late"]) == "release r2 is ready"
    assert "secret" not in str(answers["broken"])
    # What no message can carry fails alone, too.
    [(_, error), (_, none)] = await listed("build_items", "r2", [7, "blue"])
    assert isinstance(error, InvalidArgumentError)
    assert none is None


async def test_several_items_are_built_at_once_and_no_more_than_the_window(target: str, builds: FakeBuilds) -> None:
    builds.held.clear()
    async with AsyncClient(target) as client:
        items = [f"i{number}" for number in range(3 * WINDOW)]
        answers = client.releases.build_items("r2", items, in_flight=len(items))
        first = asyncio.ensure_future(anext(answers))
        async with asyncio.timeout(10):
            while builds.waiting < WINDOW:
                await asyncio.sleep(0.01)
        builds.held.set()
        assert [await first, *[each async for each in answers]][0][1] is None
    assert (builds.most, len(builds.built)) == (WINDOW, len(items))


async def test_an_item_whose_time_is_over_fails_alone(target: str, builds: FakeBuilds) -> None:
    builds.held.clear()
    async with AsyncClient(target, timeout=0.2) as client:
        [(item_id, error)] = [each async for each in client.releases.build_items("r2", ["red"])]
    assert (item_id, type(error)) == ("red", DeadlineExceededError)
    assert builds.built == []
