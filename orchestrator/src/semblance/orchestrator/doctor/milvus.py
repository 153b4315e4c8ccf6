"""Milvus, and the collections of the live releases."""

import re
from collections.abc import Awaitable, Callable

from semblance.orchestrator.adapters.milvus_search import METRIC_TYPES
from semblance.orchestrator.doctor.finding import Check, Finding, Outcome
from semblance.orchestrator.doctor.live import Live
from semblance.orchestrator.doctor.looks import CollectionState, MilvusLook
from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.release import Registered, Release, ReleaseState
from semblance.orchestrator.settings import Settings

# The oldest that was tested, and those that the compose file and `semblance up` take are later or the same.
OLDEST = (2, 3)
INDEX = "HNSW"
# Of a call, in seconds.
CALL_TIMEOUT = 5.0

REACH = Check("Milvus", "reach", "every search asks it")
PROCESSES = Check("Milvus", "processes", "Milvus Lite loses writes that several processes make at once")
COLLECTION = Check(
    "Milvus", "collection", "vectors of another model, or of another length, can't be searched with this one's"
)
INDEXED = Check(
    "Milvus", "index", "without the release's index a search reads every vector, or finds fewer of the nearest"
)
LOADED = Check("Milvus", "loaded", "only a collection that is in memory can be searched")
ROWS = Check("Milvus", "rows", "what the catalogue holds and the collection does not is never found")


async def examine(milvus: MilvusLook, settings: Settings, known: Callable[[], Awaitable[Live]]) -> list[Finding]:
    """`known` is waited for where Milvus answers."""
    try:
        version = await milvus.version(CALL_TIMEOUT)
    except SemblanceError as error:
        return [
            REACH.failure(
                str(error),
                "start Milvus, or correct SEMBLANCE_MILVUS_URI and SEMBLANCE_MILVUS_TOKEN; nothing else of it could be "
                "looked at",
            )
        ]
    live = await known()
    findings = [reach(version)]
    if version.startswith("milvus_lite"):
        findings.append(processes(settings, live))
    if live.problem:
        findings.append(COLLECTION.unknown(f"which there should be is not known: {live.problem}"))
    for registered in live.releases:
        findings += await collection(milvus, registered, live)
    return findings


def reach(version: str) -> Finding:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        return REACH.warning(f"version {version}", "use Milvus 2.3 or newer; the compose file has 2.6")
    return REACH.ok(f"version {version}")


def processes(settings: Settings, live: Live) -> Finding:
    """Of Milvus Lite."""
    if settings.workers > 1:
        return PROCESSES.failure(
            f"SEMBLANCE_WORKERS is {settings.workers}",
            "set it to 1, or use Milvus standalone: `semblance up --milvus standalone`",
        )
    if len(live.present) > 1:
        return PROCESSES.failure(
            f"{len(live.present)} orchestrators run: {', '.join(each.name for each in live.present)}",
            "let one run, or use Milvus standalone",
        )
    return PROCESSES.ok("one, as Milvus Lite wants it")


async def collection(milvus: MilvusLook, registered: Registered, live: Live) -> list[Finding]:
    release = registered.release
    check = _of(COLLECTION, release)
    size, _ = live.sizes[release.collection]
    try:
        state = await milvus.describe(release.collection, CALL_TIMEOUT)
    except SemblanceError as error:
        if not size.items:
            return [check.ok(f"{release.collection} is not there yet: nothing was put")]
        return [check.failure(str(error), _rebuild(registered))]
    findings = [contents(state, registered)]
    if findings[0].outcome is not Outcome.OK:
        return findings
    return [*findings, index(state, release), await loaded(milvus, state, registered, live)]


def contents(state: CollectionState, registered: Registered) -> Finding:
    release = registered.release
    check = _of(COLLECTION, release)
    if state.dimension != release.dimension:
        return check.failure(
            f"{release.collection} holds vectors of {state.dimension or 'no'} numbers, and the release's "
            f"{release.embedder.name} version {release.embedder.version} gives {release.dimension}",
            _rebuild(registered),
        )
    if state.embedder not in ("", release.embedder.sha256):
        return check.failure(
            f"{release.collection} was made for the embedder with the SHA-256 {state.embedder[:12]}…, and the release "
            f"has {release.embedder.sha256[:12]}…",
            _rebuild(registered),
        )
    return check.ok(f"{release.collection}: {release.dimension} numbers a vector")


def index(state: CollectionState, release: Release) -> Finding:
    check = _of(INDEXED, release)
    wanted = {
        "type": (state.kind, INDEX),
        "metric": (state.metric, METRIC_TYPES[release.index.metric]),
        "M": (state.m, release.index.m),
        "efConstruction": (state.ef_construction, release.index.ef_construction),
    }
    # Milvus Lite tells no parameters.
    wrong = [
        f"{name} {given or 'none'}, and {expected} expected"
        for name, (given, expected) in wanted.items()
        if given != expected and given is not None
    ]
    if wrong:
        return check.failure(
            "; ".join(wrong),
            "`semblance rebuild` makes the active release's collection anew; create another release in place of one "
            "that is not",
        )
    told = [f"{name} {given}" for name, (given, _) in wanted.items() if name in ("M", "efConstruction") and given]
    return check.ok(", ".join([f"{state.kind}, {state.metric}", *told]))


async def loaded(milvus: MilvusLook, state: CollectionState, registered: Registered, live: Live) -> Finding:
    """And how many rows it has, which only a loaded one tells."""
    release = registered.release
    if not state.loaded:
        check = _of(LOADED, release)
        if live.present:
            return check.failure("not loaded, though an orchestrator runs that loads it", "see the orchestrator's log")
        return check.warning("not loaded", "start the service: it loads what its releases need")
    try:
        return rows(await milvus.count(release, CALL_TIMEOUT), registered, live)
    except SemblanceError as error:
        return _of(ROWS, release).unknown(str(error))


def rows(count: int, registered: Registered, live: Live) -> Finding:
    check = _of(ROWS, registered.release)
    size, unsettled = live.sizes[registered.release.collection]
    if unsettled:
        found = f"{count:,}, and {unsettled:,} items are not settled yet"
        if live.present or registered.state is ReleaseState.BUILDING:
            return check.ok(f"{found}: the service is at it")
        return check.warning(found, "start the service: it indexes what is missing")
    if count != size.vectors:
        return check.failure(
            f"{count:,}, and the catalogue has {size.vectors:,} vectors",
            "`semblance verify` names the items, `semblance verify --repair` mends them",
        )
    return check.ok(f"{count:,}, as many as the catalogue has")


def _of(check: Check, release: Release) -> Check:
    return Check(check.part, f"{check.noun} of {release.release_id}", check.why)


def _rebuild(registered: Registered) -> str:
    if registered.state is ReleaseState.ACTIVE:
        return "see that this is the right Milvus; if it is, `semblance rebuild` makes the collection anew"
    retire = f"`semblance release retire {registered.release_id}`"
    return f"see that this is the right Milvus; if it is, {retire}, and create a release anew"
