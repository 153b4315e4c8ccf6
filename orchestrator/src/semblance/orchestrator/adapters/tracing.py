"""Traces by OpenTelemetry, sent to a collector by OTLP over gRPC, in batches, from a thread of the library's own.

A request whose caller sends W3C's `traceparent` is traced if the caller has it traced; of the others a share is.
"""

import asyncio
import logging
from collections.abc import Mapping

from grpc import StatusCode
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, Status
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from semblance.orchestrator.request import Request

log = logging.getLogger(__name__)

# What the last spans may take to be sent when the service stops, in seconds.
CLOSE_SECONDS = 5.0


class OtlpTracer:
    def __init__(self, endpoint: str, share: float, version: str, name: str) -> None:
        """`endpoint` is http:// or https:// (with TLS) host:port. `name` is the process's, among others."""
        resource = {
            "service.name": "semblance-orchestrator",
            "service.version": version,
            "service.instance.id": name,
        }
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)), resource=Resource.create(resource), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        self._tracer = self._provider.get_tracer("semblance.orchestrator", version)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, request: Request) -> "OtelSpan | None":
        service, _, method = request.method.partition("/")
        attributes = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "semblance.request_id": request.request_id,
        }
        context = self._propagator.extract(request.carrier)
        span = self._tracer.start_span(request.method, context, SpanKind.SERVER, attributes)
        return OtelSpan(self._tracer, span, request) if span.is_recording() else None

    async def close(self) -> None:
        """Sends what is left. A collector that does not answer is not waited for."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("the last spans could not be sent within %g s, and are lost", CLOSE_SECONDS)


class OtelSpan:
    """See `request.Span`."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span, request: Request) -> None:
        self._tracer = tracer
        self._span = span
        self._request = request

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def child(
        self,
        name: str,
        attributes: Mapping[str, str | int] | None = None,
        linked: "OtelSpan | None" = None,
        at: int | None = None,
    ) -> "OtelSpan":
        span = self._tracer.start_span(
            name,
            trace.set_span_in_context(self._span),
            SpanKind.INTERNAL if attributes is None else SpanKind.CLIENT,
            attributes,
            [Link(linked._span.get_span_context())] if linked else None,
            at,
        )
        return OtelSpan(self._tracer, span, self._request)

    def end(self, error: str = "", at: int | None = None) -> None:
        self._span.set_attribute("semblance.release", self._request.release_id)
        if error:
            self._span.set_status(Status(SpanStatus.ERROR, error))
        self._span.end(at)

    def finish(self, caller: str) -> None:
        request = self._request
        self._span.set_attributes(
            {"rpc.grpc.status_code": StatusCode[request.status].value[0], "semblance.caller": caller}
        )
        self.end(request.reason)
