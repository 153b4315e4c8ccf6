"""Between the types of releases and the messages of the wire, as `_translate` is for the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import TypeVar

from semblance.client._errors import InternalError, InvalidArgumentError, SemblanceError, from_failure
from semblance.client._release_types import (
    Canary,
    Engine,
    Evaluation,
    Figure,
    Finding,
    IndexParameters,
    NewRelease,
    Release,
    ReleaseModel,
    ReleasePlan,
    ReleaseProgress,
    ReleaseReport,
    ReleaseState,
    ReleaseStatus,
    Switch,
)
from semblance.client._translate import ITEM_ID, duration, measure_of, measure_value, sendable
from semblance.v1 import release_pb2

Named = TypeVar("Named", release_pb2.GetReleaseRequest, release_pb2.ReportRequest, release_pb2.RetireReleaseRequest)

_RELEASE_ID = "Unicode text, such as 'r2'"
_PERCENT = "a number from 0 to 100"
_VERSION = "the number of a published version"
_PARAMETER = "a whole number"
_ENGINES: dict[Engine, release_pb2.BuildEngine.ValueType] = {
    "keeper": release_pb2.KEEPER,
    "outside": release_pb2.OUTSIDE,
}
_ENGINE_OF: dict[int, Engine] = {value: engine for engine, value in _ENGINES.items()}
_STATES: dict[int, ReleaseState] = {release_pb2.ReleaseState.Value(state.name): state for state in ReleaseState}


def new_message(new: NewRelease) -> release_pb2.CreateReleaseRequest:
    """Raises InvalidArgumentError for a value that no message can carry, as all of these do."""
    message = release_pb2.CreateReleaseRequest()
    with sendable("release_id", new.release_id, _RELEASE_ID):
        message.release_id = new.release_id or ""
    for name in ("detector", "embedder"):
        with sendable(name, getattr(new, name), _VERSION):
            setattr(message, name, getattr(new, name) or 0)
    for name in ("m", "ef_construction", "ef"):
        with sendable(name, getattr(new, name), _PARAMETER):
            setattr(message.index, name, getattr(new, name) or 0)
    message.index.metric = measure_value(new.metric, "metric")
    with sendable("keep_index", new.keep_index, "a bool"):
        message.keep_index = new.keep_index
    if new.engine not in _ENGINES:
        raise InvalidArgumentError(f"engine is {new.engine!r}, but must be one of {', '.join(map(repr, _ENGINES))}")
    message.engine = _ENGINES[new.engine]
    return message


def pending_message(release_id: str, page_size: int) -> release_pb2.ListPendingRequest:
    with sendable("release_id", release_id, _RELEASE_ID):
        return release_pb2.ListPendingRequest(release_id=release_id, page_size=page_size)


def build_message(release_id: str, item_id: str, timeout: float | None) -> release_pb2.BuildItemsRequest:
    with sendable("release_id", release_id, _RELEASE_ID):
        message = release_pb2.BuildItemsRequest(release_id=release_id)
    with sendable("item_id", item_id, ITEM_ID):
        message.item_id = item_id
    if (lasting := duration(timeout)) is not None:
        message.timeout.CopyFrom(lasting)
    return message


def built(message: release_pb2.BuildItemsResponse) -> SemblanceError | None:
    """What failed, as a value."""
    return from_failure(message.failure) if message.HasField("failure") else None


def named_message(kind: type[Named], release_id: str) -> Named:
    """A request that says nothing but which release it is about."""
    with sendable("release_id", release_id, _RELEASE_ID):
        return kind(release_id=release_id)


def activate_message(release_id: str, require: Sequence[str]) -> release_pb2.ActivateReleaseRequest:
    with sendable("release_id", release_id, _RELEASE_ID):
        message = release_pb2.ActivateReleaseRequest(release_id=release_id)
    with sendable("require", require, "a sequence of texts, such as ['overlap@10>=0.8']"):
        message.require.extend(_texts(require))
    return message


def canary_message(release_id: str, percent: float, callers: Sequence[str]) -> release_pb2.CanaryRequest:
    with sendable("release_id", release_id, _RELEASE_ID):
        message = release_pb2.CanaryRequest(release_id=release_id)
    with sendable("percent", percent, _PERCENT):
        message.share.percent = percent
    with sendable("callers", callers, "a sequence of names"):
        message.share.callers.extend(_texts(callers))
    return message


def shadow_message(release_id: str, percent: float) -> release_pb2.ShadowRequest:
    with sendable("release_id", release_id, _RELEASE_ID):
        message = release_pb2.ShadowRequest(release_id=release_id)
    with sendable("percent", percent, _PERCENT):
        message.percent = percent
    return message


def evaluation_message(
    release_id: str, figures: Sequence[Figure], against: str | None
) -> release_pb2.RecordEvaluationRequest:
    with sendable("release_id", release_id, _RELEASE_ID):
        message = release_pb2.RecordEvaluationRequest(release_id=release_id)
    with sendable("against", against, _RELEASE_ID):
        message.against = against or ""
    with sendable("figures", figures, "a sequence of Figure, whose values are numbers"):
        message.figures.extend(
            release_pb2.Figure(name=figure.name, value=figure.value, meaning=figure.meaning) for figure in figures
        )
    return message


def release(message: release_pb2.Release) -> Release:
    if message.state not in _STATES:
        raise InternalError(f"release {message.release_id} is in a state that this client does not know: update it")
    return Release(
        release_id=message.release_id,
        state=_STATES[message.state],
        detector=_model(message.detector),
        embedder=_model(message.embedder),
        dimension=message.dimension,
        index=_index(message.index),
        collection=message.collection,
        created_at=message.created_at.ToDatetime(UTC),
        changed_at=message.changed_at.ToDatetime(UTC),
        replaced=message.replaced,
        canary=Canary(message.canary.percent, tuple(message.canary.callers)) if message.HasField("canary") else None,
        shadow_percent=message.shadow_percent,
        progress=_progress(message.progress) if message.HasField("progress") else None,
    )


def releases(message: release_pb2.ListReleasesResponse) -> tuple[Release, ...]:
    return tuple(map(release, message.releases))


def plan(message: release_pb2.ReleasePlan) -> ReleasePlan:
    return ReleasePlan(
        release_id=message.release_id,
        detector=_model(message.detector),
        embedder=_model(message.embedder),
        dimension=message.dimension,
        new_collection=message.new_collection,
        items=message.items,
        images=message.images,
        rows=message.rows,
        active_memory=message.active_memory,
        new_memory=message.new_memory,
        new_disk=message.new_disk,
        query_nodes=message.query_nodes,
        seconds=message.seconds if message.HasField("seconds") else None,
        index=_index(message.index),
    )


def switch(message: release_pb2.SwitchResponse) -> Switch:
    return Switch(release(message.active), message.replaced, message.seconds, tuple(message.lagging))


def report(message: release_pb2.ReleaseReport) -> ReleaseReport:
    figures = (
        Figure(figure.name, figure.value if figure.HasField("value") else None, figure.meaning)
        for figure in message.figures
    )
    return ReleaseReport(
        message.release_id,
        message.against,
        tuple(figures),
        Evaluation(message.evaluation.against, message.evaluation.recorded_at.ToDatetime(UTC))
        if message.HasField("evaluation")
        else None,
    )


def status(message: release_pb2.StatusResponse) -> ReleaseStatus:
    findings = (
        Finding(finding.part, finding.what, finding.should, finding.has, finding.good) for finding in message.findings
    )
    return ReleaseStatus(message.good, tuple(findings))


def _texts(values: Sequence[str]) -> Sequence[str]:
    """Refuses a text, which is a sequence of texts too."""
    if isinstance(values, str):
        raise TypeError("a text in place of a sequence of texts")
    return values


def _index(message: release_pb2.IndexParameters) -> IndexParameters:
    metric = measure_of(message.metric)
    if metric not in ("cosine", "inner_product", "l2"):
        raise InternalError(f"a release is indexed by {metric}, which no index of this client's can be: update it")
    return IndexParameters(message.m, message.ef_construction, message.ef, metric)


def _model(message: release_pb2.ReleaseModel) -> ReleaseModel:
    return ReleaseModel(message.name, message.version, message.sha256)


def _progress(message: release_pb2.ReleaseProgress) -> ReleaseProgress:
    return ReleaseProgress(
        items=message.items,
        unsettled=message.unsettled,
        rate=message.rate,
        remaining=message.remaining if message.HasField("remaining") else None,
        problem=message.problem,
        engine=_ENGINE_OF.get(message.engine),
    )
