"""The counts and times of searches, as the protocol puts those of a model."""

from collections.abc import Iterable

from tritonclient.grpc import service_pb2

from semblance.orchestrator.grpc_edge.kserve.signature import FIGURES, MODEL, STAGE_MODELS, VERSION
from semblance.orchestrator.statistics import Statistics, Total


def model_statistics(statistics: Statistics) -> list[service_pb2.ModelStatistics]:
    """Of the model `search`, with the searches of every protocol, and of each of its stages."""
    search = _described(MODEL, FIGURES, statistics)
    search.inference_stats.fail.CopyFrom(_duration(statistics.failed))
    return [search, *(_described(name, [stage], statistics) for stage, name in STAGE_MODELS.items())]


def _described(name: str, stages: Iterable[str], statistics: Statistics) -> service_pb2.ModelStatistics:
    count = statistics.answered.count
    figures = {figure: Total(count) for figure in ("success", *FIGURES.values())}
    for stage in stages:
        ns = statistics.stages.get(stage, Total()).ns
        figures["success"].ns += ns
        figures[FIGURES[stage]].ns += ns
    return service_pb2.ModelStatistics(
        name=name,
        version=VERSION,
        last_inference=round(statistics.last * 1000),
        inference_count=count,
        execution_count=count,
        inference_stats=service_pb2.InferStatistics(**{figure: _duration(total) for figure, total in figures.items()}),
    )


def _duration(total: Total) -> service_pb2.StatisticDuration:
    return service_pb2.StatisticDuration(count=total.count, ns=total.ns)
