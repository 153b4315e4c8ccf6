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
        transport: to Triton and back: what the steps took that was neither queue nor compute.
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
    queue, compute = times.queue / times.count, times.infer / times.count
    return Stages(queue=queue, compute=compute, transport=latency - queue - compute)


def of_chain(latency: float, spent: Reading) -> Stages:
    """Of searches: at least one is among what was counted.

    Requests to the models count for the photo that they belong to, even where one photo needs several.
    """
    service, triton = spent.service, spent.triton
    photos = service[SEARCH].count

    def stage(name: str) -> float:
        return service[f"{SEARCH}.{name}"].total / photos

    queue = sum(triton[model].queue for model in MODELS) / photos
    compute = sum(triton[model].infer for model in MODELS) / photos
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
    photos = spent.triton["detector"].count
    queue = sum(spent.triton[model].queue for model in MODELS) / photos
    compute = sum(spent.triton[model].infer for model in MODELS) / photos
    return Stages(queue=queue, compute=compute, overhead=latency - queue - compute)
