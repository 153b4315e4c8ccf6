"""The gRPC server: our services, health and reflection on one port."""

import asyncio
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tritonclient.grpc import service_pb2, service_pb2_grpc

from semblance.orchestrator.address import AddressInUse
from semblance.orchestrator.grpc_edge.access import Access
from semblance.orchestrator.grpc_edge.boundary import ErrorBoundary
from semblance.orchestrator.grpc_edge.callers import Callers
from semblance.orchestrator.grpc_edge.catalog_service import CatalogService
from semblance.orchestrator.grpc_edge.feedback_service import FeedbackService
from semblance.orchestrator.grpc_edge.health import OVERALL, Health
from semblance.orchestrator.grpc_edge.kserve.service import InferenceService
from semblance.orchestrator.grpc_edge.release_service import ReleaseService
from semblance.orchestrator.grpc_edge.requests import Requests
from semblance.orchestrator.grpc_edge.search_service import SearchService
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.orchestrator.grpc_edge.tls import Tls
from semblance.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    release_pb2,
    release_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)

DESCRIPTORS = [
    search_pb2.DESCRIPTOR.services_by_name["SearchService"],
    catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"],
    feedback_pb2.DESCRIPTOR.services_by_name["FeedbackService"],
    release_pb2.DESCRIPTOR.services_by_name["ReleaseService"],
    service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
]
SERVICES = tuple(service.full_name for service in DESCRIPTORS)
SEARCH_SERVICE, CATALOG_SERVICE, FEEDBACK_SERVICE, RELEASE_SERVICE, INFERENCE_SERVICE = SERVICES
METHODS = [f"/{service.full_name}/{method.name}" for service in DESCRIPTORS for method in service.methods]
HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
MAX_MESSAGE_BYTES = 64 * 2**20
# Handlers start when the body is read, so what is read at once must be bounded too, for each connection: below the
# 1,000 unhandled requests from which gRPC resets streams in words of its own (`grpc.server.max_pending_requests`).
MAX_CONCURRENT_STREAMS = 512
# The client pings no more often than this.
MIN_PING_INTERVAL_MS = 30_000

OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
    ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
    ("grpc.keepalive_permit_without_calls", 1),
]


@dataclass(frozen=True, slots=True)
class Door:
    """Where the server listens, how, and to whom: without `callers` to anybody.

    On `health_listen` it answers for its health alone, without TLS. `shared`: other workers listen on the same
    addresses; otherwise a second process on a busy port is to fail.
    """

    listen: str
    shared: bool = False
    tls: Tls | None = None
    callers: Callers | None = None
    health_listen: str = ""


class Server:
    def __init__(
        self,
        door: Door,
        search: SearchService,
        inference: InferenceService,
        catalog: CatalogService,
        feedback: FeedbackService,
        releases: ReleaseService,
        health: Health,
        streams: Streams,
        requests: Requests,
    ) -> None:
        self._door = door
        self._streams = streams
        options = [*OPTIONS, ("grpc.so_reuseport", int(door.shared))]
        interceptors: list[grpc.aio.ServerInterceptor] = [requests, ErrorBoundary()]
        if door.callers is not None:
            interceptors.insert(
                1, Access(door.callers, certificates=door.tls is not None and door.tls.asks_certificates)
            )
        self._server = grpc.aio.server(interceptors=interceptors, options=options)
        self._probed = grpc.aio.server(options=options)
        self._health = health
        search_pb2_grpc.add_SearchServiceServicer_to_server(search, self._server)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, self._server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(catalog, self._server)
        feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(feedback, self._server)
        release_pb2_grpc.add_ReleaseServiceServicer_to_server(releases, self._server)
        for server in (self._server, self._probed):
            health_pb2_grpc.add_HealthServicer_to_server(health, server)
        names = (*SERVICES, HEALTH_SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> int:
        """Binds and answers; returns the main port. Raises AddressInUse."""
        port = self._bind()
        await self._server.start()
        if self._door.health_listen:
            await self._probed.start()
        return port

    def _bind(self) -> int:
        listen, tls = self._door.listen, self._door.tls
        try:
            if tls is None:
                port = self._server.add_insecure_port(listen)
            else:
                port = self._server.add_secure_port(listen, tls.credentials())
            if listen := self._door.health_listen:
                self._probed.add_insecure_port(listen)
        except RuntimeError:
            raise AddressInUse(listen) from None
        return port

    async def stop(self, delay: float, grace: float) -> None:
        """Serves on for `delay` seconds, so that balancers see it go, and then answers what is in flight, for `grace`
        seconds at most."""
        was_serving = self._health.is_serving(OVERALL)
        self._health.stop()
        if was_serving:
            await asyncio.sleep(delay)
        self._streams.drain()
        await self._server.stop(grace)
        await self._probed.stop(None)
