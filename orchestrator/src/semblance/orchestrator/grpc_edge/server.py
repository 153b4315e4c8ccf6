"""The gRPC server: our services, health and reflection on one port."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tritonclient.grpc import service_pb2, service_pb2_grpc

from semblance.orchestrator.address import AddressInUse
from semblance.orchestrator.grpc_edge.boundary import Context, ErrorBoundary
from semblance.orchestrator.grpc_edge.catalog_service import CatalogService
from semblance.orchestrator.grpc_edge.kserve.service import InferenceService
from semblance.orchestrator.grpc_edge.search_service import SearchService
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.v1 import catalog_pb2, catalog_pb2_grpc, search_pb2, search_pb2_grpc

SERVICES = (
    search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name,
    catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name,
    service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
)
MAX_MESSAGE_BYTES = 64 * 2**20
# Handlers start when the body is read, so what is read at once must be bounded too, for each connection.
MAX_CONCURRENT_STREAMS = 1024
# The client pings no more often than this.
MIN_PING_INTERVAL_MS = 30_000

OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
    ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
    ("grpc.keepalive_permit_without_calls", 1),
]


class Health(health.aio.HealthServicer):  # type: ignore[misc]
    """The standard servicer, whose watchers would hold up the server's stop to the end of its grace."""

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self._streams = streams

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:  # noqa: N802
        async with self._streams.until_drained():
            await super().Watch(request, context)


class Server:
    """Health is NOT_SERVING until `serving` is called, and again from `stop` on."""

    def __init__(
        self,
        listen: str,
        search: SearchService,
        inference: InferenceService,
        catalog: CatalogService,
        streams: Streams,
        shared: bool = False,
    ) -> None:
        """`shared`: other workers listen on the same address. Otherwise a second process on a busy port is to fail."""
        self._listen = listen
        self._streams = streams
        options = [*OPTIONS, ("grpc.so_reuseport", int(shared))]
        self._server = grpc.aio.server(interceptors=[ErrorBoundary()], options=options)
        self._ready = False
        self._health = Health(streams)
        search_pb2_grpc.add_SearchServiceServicer_to_server(search, self._server)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, self._server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(catalog, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> int:
        """Binds and answers; returns the port. Raises AddressInUse."""
        if not self._ready:
            await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            port = self._server.add_insecure_port(self._listen)
        except RuntimeError:
            raise AddressInUse(self._listen) from None
        await self._server.start()
        return port

    async def serving(self) -> None:
        self._ready = True
        await self._say(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float) -> None:
        """Answers what is in flight, for `grace` seconds at most."""
        await self._health.enter_graceful_shutdown()
        self._streams.drain()
        await self._server.stop(grace)

    async def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", *SERVICES):
            await self._health.set(name, status)
