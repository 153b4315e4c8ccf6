"""A collector of traces: OTLP over gRPC, as the orchestrator speaks it, and over HTTP, as Triton does."""

import base64
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

# Seconds within which spans come.
PATIENCE = 30


@dataclass(frozen=True, slots=True)
class Span:
    """Ids are hexadecimal, times in seconds; `linked` are the ids of the spans that it has links to."""

    service: str
    trace_id: str
    span_id: str
    parent: str
    name: str
    start: float
    end: float
    attributes: dict[str, Any]
    linked: tuple[str, ...]
    failed: bool

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass
class Collector(TraceServiceServicer):
    """`grpc` and `http` are where it listens."""

    grpc: str = ""
    http: str = ""
    spans: list[Span] = field(default_factory=list)
    _came: threading.Condition = field(default_factory=threading.Condition)

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        with self._came:
            self.spans += _spans(request)
            self._came.notify_all()
        return ExportTraceServiceResponse()

    def wait(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """What has come when it is enough."""
        with self._came:
            assert self._came.wait_for(lambda: enough(self.spans), PATIENCE), self.spans
            return list(self.spans)


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.grpc = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if "json" in self.headers["Content-Type"]:
                request = _of_json(body)
            else:
                request = ExportTraceServiceRequest.FromString(body)
            collector.Export(request, None)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.http = f"http://127.0.0.1:{web.server_port}/v1/traces"
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        web.shutdown()
        thread.join()
        web.server_close()
        server.stop(None).wait()


def _of_json(body: bytes) -> ExportTraceServiceRequest:
    """OTLP's JSON has ids in hexadecimal, where that of protobuf has base64."""

    def mend(value: Any) -> Any:
        if isinstance(value, list):
            return [mend(each) for each in value]
        if isinstance(value, dict):
            return {
                key: base64.b64encode(bytes.fromhex(each)).decode()
                if key in ("traceId", "spanId", "parentSpanId")
                else mend(each)
                for key, each in value.items()
            }
        return value

    return json_format.ParseDict(mend(json.loads(body)), ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        service = str(_attributes(resource.resource.attributes).get("service.name", ""))
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.name,
                    span.start_time_unix_nano / 1e9,
                    span.end_time_unix_nano / 1e9,
                    _attributes(span.attributes),
                    tuple(link.span_id.hex() for link in span.links),
                    span.status.code == span.status.STATUS_CODE_ERROR,
                )


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
