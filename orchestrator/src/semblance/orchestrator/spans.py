"""Where the time of a request goes, as spans of a trace; nothing is done for a request that is not traced.

    request ─┬─ admission ─ decode ─ detect ─ crop ─ embed ─ search ─ encode      one after the other
             └──────────────────────── Triton ─────── Triton ── Milvus            calls, each below its stage

A call that several requests share is a span in the trace of each: the first one's goes on in Triton, and the others'
are linked to it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from semblance.orchestrator.request import Request, Span, answering

STAGES = ("admission", "decode", "detect", "crop", "embed", "search", "encode")


class Tracer(Protocol):
    def begin(self, request: Request) -> Span | None:
        """The request's own span; None where it is not traced."""
        ...


class Stages:
    """The stages of a search, each of which ends where the next begins."""

    def __init__(self, request: Request, whole: Span) -> None:
        self._request = request
        self._whole = whole
        self._names = iter(STAGES)
        self._stage: Span | None = None
        self.next()

    def next(self) -> None:
        # In between is nothing: what the spans themselves take is the next stage's.
        now = time.time_ns()
        self.close(at=now)
        if name := next(self._names, None):
            self._stage = self._request.span = self._whole.child(name, at=now)

    def close(self, error: str = "", at: int | None = None) -> None:
        if self._stage is not None:
            self._stage.end(error, at)
        self._stage, self._request.span = None, self._whole


@contextmanager
def stages() -> Iterator[Callable[[], None] | None]:
    """Around a search: what is to be told when a stage has ended, if the request is traced."""
    request = answering.get()
    if request is None or request.span is None:
        yield None
        return
    spans = Stages(request, request.span)
    try:
        yield spans.next
    except BaseException as error:
        spans.close(str(error) or type(error).__name__)
        raise
    spans.close()


def current() -> Span | None:
    """The innermost span of the request that is being answered; None where it is not traced."""
    request = answering.get()
    return None if request is None else request.span


@contextmanager
def calling(
    name: str, attributes: Mapping[str, str | int], parents: Sequence[Span | None] | None = None
) -> Iterator[list[tuple[str, str]] | None]:
    """Around a call of another service by the request that is being answered, or by several whose spans are `parents`:
    gives the metadata that has the other side go on with the trace, if any is traced."""
    traced = [parent for parent in ([current()] if parents is None else parents) if parent is not None]
    if not traced:
        yield None
        return
    first = traced[0].child(name, attributes)
    spans = [first, *(parent.child(name, attributes, first) for parent in traced[1:])]
    error = ""
    try:
        yield [("traceparent", first.traceparent)]
    except BaseException as raised:
        error = str(raised) or type(raised).__name__
        raise
    finally:
        for span in spans:
            span.end(error)
