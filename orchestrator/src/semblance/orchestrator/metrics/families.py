"""Every metric family of ours, and where its values come from. `docs/observability.md` lists the same names."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from semblance.orchestrator.admission import Admission
from semblance.orchestrator.backlog import Backlog
from semblance.orchestrator.dependency import Dependency
from semblance.orchestrator.ports import ModelServer
from semblance.orchestrator.release import LIVE, Registered
from semblance.orchestrator.replicas import Replicas
from semblance.orchestrator.shadow import Shadows
from semblance.orchestrator.statistics import EDGES, Statistics, Total
from semblance.orchestrator.suspects import Suspects
from semblance.orchestrator.threads import Threads
from semblance.orchestrator.traffic import Traffic
from semblance.orchestrator.verdicts import Verdicts

PREFIX = "semblance"

# A series' label values, and its value.
Values = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class Sources:
    """What the values are read from, by a thread of its own: each is copied in one step before it is looked through.

    `models` and `servers` are Triton's, `health` whether each gRPC service serves, `keeps` whether this process is the
    keeper.
    """

    version: str
    statistics: Statistics
    admission: Admission
    dependencies: Iterable[Dependency]
    models: Replicas
    servers: Mapping[str, ModelServer]
    threads: Threads
    shadows: Shadows
    verdicts: Verdicts
    suspects: Suspects
    backlog: Backlog
    health: Callable[[], Mapping[str, bool]]
    releases: Callable[[], Iterable[Registered]]
    keeps: Callable[[], bool]


def families(sources: Sources) -> Iterator[Metric]:
    yield _gauge("build_info", "The version of the service; always 1.", ["version"], [((sources.version,), 1)])
    yield from _requests(sources.statistics)
    yield from _admission(sources.admission)
    yield from _parts(sources)
    yield from _releases(sources)
    yield from _feedback(sources)


def _requests(statistics: Statistics) -> Iterator[Metric]:
    yield _counter(
        "requests",
        "Calls, and messages of streams, that have ended; a stream itself where it failed.",
        ["method", "status", "release", "caller"],
        statistics.requests.copy().items(),
    )
    yield _counter(
        "request_failures",
        "Those of them that failed, by the reason in google.rpc.ErrorInfo.",
        ["method", "reason"],
        statistics.failures.copy().items(),
    )
    yield _histogram(
        "request_duration_seconds",
        "From the call's body being read to its answer; of a stream's message, from its being read.",
        ["method", "release"],
        statistics.durations.copy().items(),
    )
    stages = [((stage,), total) for stage, total in statistics.stages.copy().items()]
    yield _histogram("stage_duration_seconds", "Stages of the searches that were answered.", ["stage"], stages)


def _admission(admission: Admission) -> Iterator[Metric]:
    lanes = {("search",): admission.search, ("ingest",): admission.ingest, ("lookup",): admission.lookup}
    yield _gauge(
        "admission_in_flight",
        "Requests that are worked on; of puts, those at the models.",
        ["lane"],
        [(name, lane.in_flight) for name, lane in lanes.items()],
    )
    yield _gauge(
        "admission_waiting", "Requests that wait.", ["lane"], [(name, lane.waiting) for name, lane in lanes.items()]
    )
    yield _gauge(
        "admission_limit",
        "Searches and puts that may be in flight now, as their latency has it.",
        [],
        [((), admission.limit.value)],
    )
    yield _counter(
        "admission_refused",
        "Requests that were not admitted.",
        ["lane", "reason"],
        [((*name, reason), count) for name, lane in lanes.items() for reason, count in lane.refused.copy().items()],
    )


def _parts(sources: Sources) -> Iterator[Metric]:
    """What the service works with."""
    health = [((name,), serving) for name, serving in sources.health().items() if name]
    yield _gauge("service_serving", "Whether a gRPC service's health is SERVING.", ["service"], health)
    yield _gauge(
        "dependency_available",
        "Whether calls are made: 0 where they fail at once until a probe succeeds.",
        ["dependency"],
        [((each.name,), each.available) for each in sources.dependencies],
    )
    yield _counter(
        "dependency_failures",
        "Calls and probes that failed.",
        ["dependency", "kind"],
        [
            ((each.name, kind), count)
            for each in sources.dependencies
            for kind, count in (("call", each.failed_calls), ("probe", each.failed_probes))
        ],
    )
    yield _counter(
        "server_failovers",
        "Batches of a model that a Triton failed at, and another one was asked for.",
        ["server"],
        [((name,), count) for name, count in sources.models.failovers().items()],
    )
    uses = {name: server.transport_use() for name, server in sources.servers.items()}
    yield _counter(
        "transport_inputs",
        "Inputs of models by the way that they went to Triton: in shared memory, or in bytes and why.",
        ["server", "way"],
        [((name, way), inputs) for name, use in uses.items() for way, inputs in use.inputs.items()],
    )
    slots = [((name,), use.slots) for name, use in uses.items()]
    yield _gauge("transport_slots", "Slots of shared memory that Triton has.", ["server"], slots)
    free = [((name,), use.free) for name, use in uses.items()]
    yield _gauge("transport_free_slots", "Those of them that no request uses.", ["server"], free)
    yield _gauge("pixel_threads", "Threads that decode and crop.", [], [((), sources.threads.size)])
    yield _gauge(
        "pixel_jobs", "Photos that are decoded or cropped, or wait for a thread.", [], [((), sources.threads.wanted)]
    )


def _releases(sources: Sources) -> Iterator[Metric]:
    live = [each for each in sources.releases() if each.state in LIVE]
    traffic = sources.admission.traffic
    yield _gauge(
        "release_info",
        "A live release, its state, and what it is made of; always 1.",
        ["release", "state", "detector", "embedder", "collection"],
        [(_described(each), 1) for each in live],
    )
    yield _gauge(
        "release_traffic_percent",
        "Part of the searches that a release serves here, or gets copies of.",
        ["release", "role"],
        _shares(traffic),
    )
    refused = traffic.refusals if traffic else {}
    yield _gauge(
        "release_problem",
        "Whether requests of a release are refused here, or its build does not get on.",
        ["release"],
        [((each.release_id,), each.release_id in refused or bool(each.problem)) for each in live],
    )
    yield _gauge(
        "release_build_items_per_second",
        "How fast a release that is building is indexed.",
        ["release"],
        [((each.release_id,), each.rate) for each in live if each.rate],
    )
    yield _gauge(
        "release_unsettled_items",
        "Items that a release's collection may disagree about with the catalogue; told by the keeper alone.",
        ["release"],
        [((release_id,), items) for release_id, items in sources.backlog.items.items()],
    )
    yield _counter(
        "shadow_copies",
        "Copies of searches that were run on another release behind the answer, or dropped for want of room.",
        ["release", "outcome"],
        sources.shadows.copies.copy().items(),
    )
    yield _gauge("keeper", "Whether this process keeps models, collections and builds.", [], [((), sources.keeps())])


def _feedback(sources: Sources) -> Iterator[Metric]:
    yield _counter(
        "verdicts",
        "Verdicts that were given; one that is given again is not counted.",
        ["kind"],
        [((kind,), count) for kind, count in sources.verdicts.given.copy().items()],
    )
    yield _counter(
        "suspects",
        "Suspicious answers that were sampled, and what became of them; dropped for want of room.",
        ["outcome"],
        [((outcome,), count) for outcome, count in sources.suspects.outcomes.copy().items()],
    )


def _described(each: Registered) -> tuple[str, ...]:
    models = (f"{model.name}:{model.version}" for model in (each.release.detector, each.release.embedder))
    return (each.release_id, each.state, *models, each.release.collection)


def _shares(traffic: Traffic | None) -> Values:
    if traffic is None:
        return
    canary = traffic.canary[1].percent if traffic.canary else 0.0
    yield (traffic.active.release_id, "active"), 100 - canary
    if traffic.canary:
        yield (traffic.canary[0].release_id, "canary"), canary
    if traffic.shadow:
        yield (traffic.shadow[0].release_id, "shadow"), traffic.shadow[1]


def _gauge(name: str, text: str, labels: list[str], values: Values) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def _counter(name: str, text: str, labels: list[str], values: Values) -> Metric:
    """Prometheus gives it the ending `_total`."""
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def _histogram(name: str, text: str, labels: list[str], totals: Iterable[tuple[tuple[str, ...], Total]]) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    edges = [*map(str, EDGES), "+Inf"]
    for of, total in totals:
        family.add_metric(of, list(zip(edges, accumulate(total.buckets), strict=True)), total.ns / 1e9)
    return family
