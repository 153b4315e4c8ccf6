"""What a server counted and timed of its models, by the statistics extension of Triton's protocol.

The orchestrator's KServe front speaks it too: beside its model `search` are its stages, as `search.decode` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Times:
    """Of a model's answered requests: how many, and the sums of their seconds."""

    count: int = 0
    total: float = 0.0
    queue: float = 0.0
    infer: float = 0.0

    @property
    def queue_each(self) -> float:
        """Of a request; 0 where there was none."""
        return self.queue / max(1, self.count)

    @property
    def infer_each(self) -> float:
        """Of a request; 0 where there was none."""
        return self.infer / max(1, self.count)

    def since(self, before: Times) -> Times:
        return Times(
            self.count - before.count,
            self.total - before.total,
            self.queue - before.queue,
            self.infer - before.infer,
        )


def read(address: str) -> dict[str, Times]:
    """By model, all of its versions together."""
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        response = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(), timeout=TIMEOUT)
    times: dict[str, Times] = {}
    for model in response.model_stats:
        known = times.get(model.name, Times())
        stats = model.inference_stats
        times[model.name] = Times(
            known.count + stats.success.count,
            known.total + stats.success.ns / 1e9,
            known.queue + stats.queue.ns / 1e9,
            known.infer + stats.compute_infer.ns / 1e9,
        )
    return times


def between(before: Mapping[str, Times], after: Mapping[str, Times]) -> dict[str, Times]:
    """What came to each model from one reading to the next."""
    return {name: times.since(before.get(name, Times())) for name, times in after.items()}
