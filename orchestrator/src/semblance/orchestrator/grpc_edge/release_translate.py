"""Between the messages of `ReleaseService` and the domain, as `translate` is for the others."""

import reprlib
import unicodedata
from collections.abc import Iterable, Sequence

from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.figure import Figure
from semblance.orchestrator.grpc_edge.translate import measure, measure_value, release_id
from semblance.orchestrator.measure import METRICS, Measure
from semblance.orchestrator.release import Canary, IndexParameters, ModelVersion, Registered, ReleaseState
from semblance.orchestrator.releases import Finding, Plan, Progress, Report, Switch, Wanted
from semblance.v1 import measure_pb2, release_pb2

# What Milvus takes for HNSW.
INDEX_BOUNDS = {"m": (2, 2048), "ef_construction": (1, 2**31 - 1), "ef": (1, 32_768)}
MAX_CALLERS = 100
MAX_CALLER = 256
# Of all that an activation requires, in characters.
MAX_REQUIREMENTS = 4096

_STATES = {state: release_pb2.ReleaseState.Value(state.name) for state in ReleaseState}


def wanted(request: release_pb2.CreateReleaseRequest) -> Wanted:
    """Raises InvalidArgument."""
    return Wanted(
        release_id=release_id(request.release_id) if request.release_id else "",
        detector=request.detector or None,
        embedder=request.embedder or None,
        index=_wanted_index(request.index),
        keep_index=request.keep_index,
        metric=_metric(request.index.metric),
        outside=_outside(request.engine),
    )


def _outside(engine: release_pb2.BuildEngine.ValueType) -> bool:
    if engine not in release_pb2.BuildEngine.values():
        raise InvalidArgument(f"engine is {engine}, and must be KEEPER or OUTSIDE")
    return engine == release_pb2.OUTSIDE


def _wanted_index(message: release_pb2.IndexParameters) -> IndexParameters | None:
    """None where nothing is asked for."""
    values = {name: getattr(message, name) for name in INDEX_BOUNDS}
    for name, value in values.items():
        lowest, highest = INDEX_BOUNDS[name]
        if value and not lowest <= value <= highest:
            raise InvalidArgument(f"{name} of the index is {value}, and must be {lowest} to {highest}")
    return IndexParameters(**values) if any(values.values()) else None


def _metric(value: measure_pb2.Measure.ValueType) -> Measure | None:
    """None where none is asked for."""
    metric = measure(value)
    if metric not in (None, *METRICS):
        names = ", ".join(METRICS)
        raise InvalidArgument(f"no index finds the nearest by {metric}: use {names}; a search can ask for {metric}")
    return metric


def canary(message: release_pb2.CanaryShare) -> Canary | None:
    """None where it ends. Raises InvalidArgument."""
    share, callers = percent(message.percent), tuple(dict.fromkeys(message.callers))
    if len(callers) > MAX_CALLERS:
        raise InvalidArgument(f"{len(callers)} callers are named, and at most {MAX_CALLERS} can be; use percent")
    for caller in callers:
        if not 1 <= len(caller) <= MAX_CALLER or any(unicodedata.category(sign) == "Cc" for sign in caller):
            raise InvalidArgument(
                f"{reprlib.repr(caller)} is no caller's name; it has 1 to {MAX_CALLER} characters, no control "
                "characters among them"
            )
    return Canary(share, callers) if share or callers else None


def requirements(texts: Sequence[str]) -> tuple[str, ...]:
    """Raises InvalidArgument."""
    length = sum(map(len, texts)) + len(texts)
    if length > MAX_REQUIREMENTS:
        raise InvalidArgument(f"the requirements have {length:,} characters, and at most {MAX_REQUIREMENTS:,} are read")
    return tuple(texts)


def percent(value: float) -> float:
    """Raises InvalidArgument."""
    if not 0 <= value <= 100:
        raise InvalidArgument(f"percent is {value:g}, and must be 0 to 100")
    return value


def plan_message(plan: Plan) -> release_pb2.ReleasePlan:
    return release_pb2.ReleasePlan(
        release_id=plan.release_id,
        detector=_model(plan.detector),
        embedder=_model(plan.embedder),
        dimension=plan.embedder.output.dims[0],
        new_collection=plan.new_collection,
        items=plan.items,
        images=plan.images,
        rows=plan.rows,
        active_memory=plan.active_memory,
        new_memory=plan.new_memory,
        new_disk=plan.new_disk,
        query_nodes=plan.query_nodes,
        seconds=plan.seconds,
        index=_index_message(plan.index),
    )


def release_message(registered: Registered, progress: Progress | None = None) -> release_pb2.Release:
    release, share = registered.release, registered.canary
    builds = registered.state is ReleaseState.BUILDING
    message = release_pb2.Release(
        release_id=release.release_id,
        state=_STATES[registered.state],
        detector=_model(release.detector),
        embedder=_model(release.embedder),
        dimension=release.dimension,
        index=_index_message(release.index),
        collection=release.collection,
        replaced=registered.replaced,
        canary=release_pb2.CanaryShare(percent=share.percent, callers=share.callers) if share else None,
        shadow_percent=registered.shadow,
        progress=_progress(progress, builds) if progress else None,
    )
    message.created_at.FromDatetime(registered.created_at)
    message.changed_at.FromDatetime(registered.changed_at)
    return message


def list_response(releases: Iterable[tuple[Registered, Progress | None]]) -> release_pb2.ListReleasesResponse:
    return release_pb2.ListReleasesResponse(releases=[release_message(*each) for each in releases])


def switch_response(switch: Switch) -> release_pb2.SwitchResponse:
    return release_pb2.SwitchResponse(
        active=release_message(switch.active),
        replaced=switch.replaced,
        seconds=switch.seconds,
        lagging=switch.lagging,
    )


def figures(messages: Iterable[release_pb2.Figure]) -> tuple[Figure, ...]:
    return tuple(Figure(each.name, each.value if each.HasField("value") else None, each.meaning) for each in messages)


def report_message(report: Report) -> release_pb2.ReleaseReport:
    message = release_pb2.ReleaseReport(
        release_id=report.release_id,
        against=report.against,
        figures=[
            release_pb2.Figure(name=figure.name, value=figure.value, meaning=figure.meaning)
            for figure in report.figures
        ],
    )
    if report.evaluation is not None:
        message.evaluation.against = report.evaluation.against
        message.evaluation.recorded_at.FromDatetime(report.evaluation.recorded_at)
    return message


def status_response(findings: Sequence[Finding]) -> release_pb2.StatusResponse:
    return release_pb2.StatusResponse(
        good=all(finding.good for finding in findings),
        findings=[
            release_pb2.Finding(
                part=finding.part, what=finding.what, should=finding.should, has=finding.has, good=finding.good
            )
            for finding in findings
        ],
    )


def _model(model: ModelVersion) -> release_pb2.ReleaseModel:
    return release_pb2.ReleaseModel(name=model.name, version=model.version, sha256=model.sha256)


def _index_message(index: IndexParameters) -> release_pb2.IndexParameters:
    return release_pb2.IndexParameters(
        m=index.m, ef_construction=index.ef_construction, ef=index.ef, metric=measure_value(index.metric)
    )


def _progress(progress: Progress, builds: bool) -> release_pb2.ReleaseProgress:
    engine = release_pb2.OUTSIDE if progress.outside else release_pb2.KEEPER
    return release_pb2.ReleaseProgress(
        items=progress.items,
        unsettled=progress.unsettled,
        rate=progress.rate,
        remaining=progress.remaining,
        problem=progress.problem,
        engine=engine if builds else release_pb2.BUILD_ENGINE_UNSPECIFIED,
    )
