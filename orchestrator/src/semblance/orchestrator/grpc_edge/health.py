"""`grpc.health.v1.Health`: what each service says of itself.

grpcio's own servicer stops telling the watchers of a service as soon as one of them leaves, and a watcher that does not
read holds up the others.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

from semblance.orchestrator.grpc_edge.boundary import Context
from semblance.orchestrator.grpc_edge.stream import Streams

# The server as a whole, as the protocol names it, which serves when searches do.
OVERALL = ""
# Serves as long as the process answers.
LIVENESS = "liveness"
# Serves from when a release can be served with until the service is stopped, whatever is missing meanwhile: where
# nobody else does better, calls say it best. Clients with several addresses ask for it.
TRAFFIC = "traffic"


class Health(HealthServicer):  # type: ignore[misc]
    """Nothing but `LIVENESS` serves until it is said to."""

    def __init__(self, services: Iterable[str], streams: Streams) -> None:
        self._streams = streams
        self._serving = {LIVENESS: True, **dict.fromkeys(services, False)}
        self._changed = asyncio.Event()
        self._stopping = False

    def is_serving(self, service: str) -> bool:
        return self._serving[service]

    def serving(self) -> dict[str, bool]:
        """By service."""
        return self._serving.copy()

    def say(self, services: Iterable[str], serving: bool) -> None:
        """Whether they serve; nobody does any more when the service is stopping."""
        self._serving.update(dict.fromkeys(services, serving and not self._stopping))
        self._changed.set()
        self._changed = asyncio.Event()

    def stop(self) -> None:
        """For good."""
        self._stopping = True
        self.say([name for name in self._serving if name != LIVENESS], False)

    async def Check(self, request: HealthCheckRequest, context: Context) -> Any:  # noqa: N802
        if request.service not in self._serving:
            await context.abort(StatusCode.NOT_FOUND, f"there is no service {request.service!r}")
        return HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:  # noqa: N802
        async with self._streams.until_drained():
            told = None
            while True:
                changed, status = self._changed, self._status(request.service)
                if status != told:
                    await context.write(HealthCheckResponse(status=status))
                    told = status
                await changed.wait()

    def _status(self, service: str) -> int:
        if service not in self._serving:
            return int(HealthCheckResponse.SERVICE_UNKNOWN)
        return int(HealthCheckResponse.SERVING if self._serving[service] else HealthCheckResponse.NOT_SERVING)
