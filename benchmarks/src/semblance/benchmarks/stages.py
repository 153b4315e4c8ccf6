"""Where the time of a request goes."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from semblance.benchmarks.reading import Reading
from semblance.benchmarks.statistics import Times

SEARCH = "search"
MODELS = ("detector", "embedder")


@dataclass(frozen=True, slots=True)
class Stages:
    """Mean seconds of a request; together they are its latency.

    Attributes:
        decode: of the file, letterboxing, and cutting out the crops; waiting for a thread to do so with them.
        queue: for its turn in the orchestrator, and in Triton's batcher.
        compute: inside the models.
        transport: to Triton and back, and waiting in the orchestrator to go there with others: what the steps took
            that was neither queue nor compute.
        search: in Milvus, the way there included.
        overhead: gRPC, translation and the client: what the caller waited beyond the service's own stages.
    """

    decode: float = 0.0
    queue: float = 0.0
    compute: float = 0.0
    transport: float = 0.0
    search: float = 0.0
    overhead: float = 0.0

    @property
    def total(self) -> float:
        seconds: tuple[float, ...] = astuple(self)
        return sum(seconds)


def of_model(latency: float, times: Times) -> Stages:
    """Of requests to one Triton model. `times` are its own, of at least one request."""
    queue, compute = times.queue_each, times.infer_each
    return Stages(queue=queue, compute=compute, transport=latency - queue - compute)


def of_chain(latency: float, spent: Reading) -> Stages:
    """Of searches: at least one is among what was counted.

    A photo waits for one request to each model, which it may share with others. Their mean is taken for that of the
    photos: where large and small requests differ, what large ones take longer is counted as transport.
    """
    service = spent.service
    photos = service[SEARCH].count

    def stage(name: str) -> float:
        return service[f"{SEARCH}.{name}"].total / photos

    queue, compute = _in_models(spent)
    decode, search = stage("decode") + stage("crop"), stage("search")
    models = stage("detect") + stage("embed")
    return Stages(
        decode=decode,
        queue=stage("admission") + queue,
        compute=compute,
        transport=models - queue - compute,
        search=search,
        overhead=latency - decode - stage("admission") - models - search,
    )


def of_put(latency: float, spent: Reading) -> Stages:
    """Of puts of one photo each. The orchestrator does not count their stages: what is not the models' is overhead."""
    queue, compute = _in_models(spent)
    return Stages(queue=queue, compute=compute, overhead=latency - queue - compute)


def _in_models(spent: Reading) -> tuple[float, float]:
    """Seconds in Triton's queues, and in the models, of one request to each."""
    times = [spent.triton[model] for model in MODELS]
    return sum(each.queue_each for each in times), sum(each.infer_each for each in times)
