"""The fake's gRPC server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from types import TracebackType
from typing import Literal, NoReturn, Self

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from semblance.client import _errors as errors
from semblance.client._errors import DOMAIN, STATUS_DETAILS, NotFoundError, RetryableError, SemblanceError
from semblance.client._translate import MAX_MESSAGE_BYTES
from semblance.client.testing._catalogue import Catalogue, SeenObject
from semblance.client.testing._feedback import FeedbackBook
from semblance.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    item_pb2,
    search_pb2,
    search_pb2_grpc,
)
from semblance.v1.failure_pb2 import Failure

PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"
"""The metadata of a call that gRPC itself makes again (gRFC A6)."""

Method = Literal[
    "Search",
    "SearchStream",
    "Put",
    "Get",
    "Delete",
    "Count",
    "List",
    "GiveFeedback",
    "ListFeedback",
    "ReportFeedback",
    "ExportFeedback",
    "DeleteFeedback",
    "AddReference",
]

_STATUS: dict[type[SemblanceError], tuple[grpc.StatusCode, str]] = {
    errors.InvalidArgumentError: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    errors.InvalidImageError: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_IMAGE"),
    errors.InvalidFilterError: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILTER"),
    errors.UnauthenticatedError: (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    errors.ForbiddenError: (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN"),
    errors.NotFoundError: (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    errors.ConflictError: (grpc.StatusCode.ABORTED, "CONFLICT"),
    errors.OverloadedError: (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    errors.UnavailableError: (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
    errors.ContractMismatchError: (grpc.StatusCode.FAILED_PRECONDITION, "CONTRACT_MISMATCH"),
    errors.WrongStateError: (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE"),
    errors.DeadlineExceededError: (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    errors.CancelledError: (grpc.StatusCode.CANCELLED, ""),
    errors.InternalError: (grpc.StatusCode.INTERNAL, "INTERNAL"),
}


@dataclass(slots=True)
class _Fault:
    error: SemblanceError
    times: int
    method: Method | None


class FakeSemblance:
    """A service in memory, on a free port of the loopback interface, until it is closed.

    Attributes:
        target: host and port, for a client.
        received: how many requests have come in, by method; in a stream each message is one.
    """

    def __init__(self) -> None:
        self.received: Counter[Method] = Counter()
        self._catalogue = Catalogue()
        self._book = FeedbackBook(self._catalogue)
        self._faults: list[_Fault] = []
        self._changed = Condition()
        self._held: list[Method | None] = []
        limits = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
        ]
        self._server = grpc.server(ThreadPoolExecutor(16, "fake-semblance"), options=limits)
        search_pb2_grpc.add_SearchServiceServicer_to_server(_Search(self), self._server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(_Catalog(self), self._server)
        feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(_Feedback(self), self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops serving and drops what is in flight."""
        with self._changed:
            self._held.clear()
            self._changed.notify_all()
        self._server.stop(None).wait()

    def shows(self, photo: bytes, objects: Iterable[SeenObject]) -> None:
        """Says what is detected in a photo, known by its exact bytes; in other photos nothing is."""
        self._catalogue.shows(photo, tuple(objects))

    def fail(self, error: SemblanceError, *, times: int = 1, method: Method | None = None) -> None:
        """Makes the next requests (of `method`, or any) fail with `error`, as the real service would report it."""
        if type(error) not in _STATUS:
            raise TypeError(f"the service reports no {type(error).__name__}; take an error below SemblanceError")
        self._faults.append(_Fault(error, times, method))

    @contextmanager
    def hold(self, method: Method | None = None) -> Iterator[None]:
        """Answers nothing (or nothing of `method`) within the block: requests wait, as when the service hangs."""
        with self._changed:
            self._held.append(method)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(method)
                self._changed.notify_all()

    def wait_for(self, method: Method, count: int, timeout: float = 10.0) -> None:
        """Waits until `count` requests of the method have come in; TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.received[method] >= count, timeout):
                raise TimeoutError(f"{self.received[method]} of {count} {method} requests came within {timeout:g} s")

    def _admit(self, method: Method) -> Catalogue:
        """Counts a request, holds it, and fails it where a test says so."""
        with self._changed:
            self.received[method] += 1
            self._changed.notify_all()
            fault = next((one for one in self._faults if one.times and one.method in (None, method)), None)
            if fault:
                fault.times -= 1
            self._changed.wait_for(lambda: not {None, method}.intersection(self._held))
        if fault:
            raise fault.error
        return self._catalogue


class _Search(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, fake: FakeSemblance) -> None:
        self._fake = fake

    def Search(  # noqa: N802
        self, request: search_pb2.SearchRequest, context: grpc.ServicerContext
    ) -> search_pb2.SearchResponse:
        with _status(context):
            return self._fake._admit("Search").search(request)

    def SearchStream(  # noqa: N802
        self, request_iterator: Iterator[search_pb2.SearchRequest], context: grpc.ServicerContext
    ) -> Iterator[search_pb2.SearchStreamResponse]:
        for request in request_iterator:
            response = search_pb2.SearchStreamResponse(request_id=request.request_id)
            try:
                response.response.CopyFrom(self._fake._admit("SearchStream").search(request))
            except SemblanceError as error:
                response.failure.CopyFrom(_failure(error))
            yield response


class _Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    def __init__(self, fake: FakeSemblance) -> None:
        self._fake = fake

    def Put(  # noqa: N802
        self, request_iterator: Iterator[catalog_pb2.PutRequest], context: grpc.ServicerContext
    ) -> Iterator[catalog_pb2.PutResponse]:
        for request in request_iterator:
            response = catalog_pb2.PutResponse(item_id=request.item.item_id)
            try:
                response.outcome = self._fake._admit("Put").put(request.item)
            except SemblanceError as error:
                response.failure.CopyFrom(_failure(error))
            yield response

    def Get(self, request: catalog_pb2.GetRequest, context: grpc.ServicerContext) -> item_pb2.Item:  # noqa: N802
        with _status(context):
            return self._fake._admit("Get").get(request.item_id, request.include_image_data)

    def Delete(  # noqa: N802
        self, request: catalog_pb2.DeleteRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.DeleteResponse:
        with _status(context):
            catalogue = self._fake._admit("Delete")
            try:
                catalogue.delete(request.item_id)
            except NotFoundError:
                # The attempt before may have deleted it.
                if not any(key == PREVIOUS_ATTEMPTS for key, _ in context.invocation_metadata()):
                    raise
            return catalog_pb2.DeleteResponse()

    def Count(  # noqa: N802
        self, request: catalog_pb2.CountRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.CountResponse:
        with _status(context):
            return self._fake._admit("Count").count()

    def List(  # noqa: N802
        self, request: catalog_pb2.ListRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.ListResponse:
        with _status(context):
            return self._fake._admit("List").page(request)


class _Feedback(feedback_pb2_grpc.FeedbackServiceServicer):
    def __init__(self, fake: FakeSemblance) -> None:
        self._fake = fake

    def Give(  # noqa: N802
        self, request: feedback_pb2.GiveFeedbackRequest, context: grpc.ServicerContext
    ) -> feedback_pb2.GiveFeedbackResponse:
        with _status(context):
            self._fake._admit("GiveFeedback")
            return self._fake._book.give(request)

    def List(  # noqa: N802
        self, request: feedback_pb2.ListFeedbackRequest, context: grpc.ServicerContext
    ) -> feedback_pb2.ListFeedbackResponse:
        with _status(context):
            self._fake._admit("ListFeedback")
            return self._fake._book.page(request)

    def Report(  # noqa: N802
        self, request: feedback_pb2.FeedbackReportRequest, context: grpc.ServicerContext
    ) -> feedback_pb2.FeedbackReport:
        with _status(context):
            self._fake._admit("ReportFeedback")
            return self._fake._book.report(request)

    def Export(  # noqa: N802
        self, request: feedback_pb2.ExportFeedbackRequest, context: grpc.ServicerContext
    ) -> Iterator[feedback_pb2.ExportedFeedback]:
        with _status(context):
            self._fake._admit("ExportFeedback")
            yield from self._fake._book.export(request)

    def Delete(  # noqa: N802
        self, request: feedback_pb2.DeleteFeedbackRequest, context: grpc.ServicerContext
    ) -> feedback_pb2.DeleteFeedbackResponse:
        with _status(context):
            self._fake._admit("DeleteFeedback")
            return self._fake._book.delete(request)

    def AddReference(  # noqa: N802
        self, request: feedback_pb2.AddReferenceRequest, context: grpc.ServicerContext
    ) -> feedback_pb2.AddReferenceResponse:
        with _status(context):
            self._fake._admit("AddReference")
            return self._fake._book.add_reference(request)


@contextmanager
def _status(context: grpc.ServicerContext) -> Iterator[None]:
    """Ends the call with the status, ErrorInfo and RetryInfo of an error of the block."""
    try:
        yield
    except SemblanceError as error:
        _abort(context, error)


def _abort(context: grpc.ServicerContext, error: SemblanceError) -> NoReturn:
    failure, (status, reason) = _failure(error), _STATUS[type(error)]
    details = Status(code=failure.code, message=failure.message)
    for detail in (
        ErrorInfo(reason=reason, domain=DOMAIN) if reason else None,
        RetryInfo(retry_delay=failure.retry_delay) if failure.HasField("retry_delay") else None,
    ):
        if detail:
            packed = Any()
            packed.Pack(detail)
            details.details.append(packed)
    context.set_trailing_metadata(((STATUS_DETAILS, details.SerializeToString()),))
    context.abort(status, failure.message)


def _failure(error: SemblanceError) -> Failure:
    status, reason = _STATUS[type(error)]
    failure = Failure(code=status.value[0], message=str(error), reason=reason)
    if isinstance(error, RetryableError) and error.retry_delay is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_delay * 1e9))
        failure.retry_delay.CopyFrom(delay)
    return failure
