"""The one table from errors to statuses."""

import logging
from collections.abc import Iterator

import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc import StatusCode

from semblance.orchestrator import errors
from semblance.orchestrator.errors import InvalidImage, Overloaded, Retryable, SemblanceError
from semblance.orchestrator.grpc_edge.status import TABLE, fault


def subclasses(kind: type[SemblanceError]) -> Iterator[type[SemblanceError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.mark.parametrize("kind", [kind for kind in subclasses(SemblanceError) if kind.__module__ == errors.__name__])
def test_every_error_has_a_row(kind: type[SemblanceError]) -> None:
    assert kind in TABLE or kind is Retryable


def test_reasons_are_unique() -> None:
    reasons = [reason for _, reason in TABLE.values()]
    assert len(set(reasons)) == len(reasons)


def test_a_status_names_its_reason_and_domain() -> None:
    status = fault(InvalidImage("the image is empty")).status()
    info = ErrorInfo()
    assert status.code == StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message == "the image is empty"
    assert [detail.Unpack(info) for detail in status.details] == [True]
    assert (info.reason, info.domain) == ("INVALID_IMAGE", "semblance")


def test_what_may_be_tried_again_says_when() -> None:
    overloaded = fault(Overloaded("too much", retry_delay=0.25))
    retry = RetryInfo()
    assert overloaded.status().details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 250
    assert overloaded.failure().retry_delay.ToMilliseconds() == 250
    assert not fault(InvalidImage("no")).failure().HasField("retry_delay")


def test_a_defect_shows_an_id_that_the_log_explains(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        shown = fault(KeyError("secret of the internals"))
    assert shown.code is StatusCode.INTERNAL
    assert "secret" not in shown.message
    error_id = shown.message.split()[2].rstrip(";")
    [record] = caplog.records
    assert error_id in record.getMessage()
    assert record.exc_info is not None
    assert "secret of the internals" in str(record.exc_info[1])
