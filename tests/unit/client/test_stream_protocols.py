"""What of the client's settings goes over the wire."""

from typing import Any

import pytest

from semblance.client import NewItem, SearchRequest
from semblance.client._client import put_protocol, search_protocol


@pytest.mark.parametrize(("timeout", "sent"), [(None, None), (2.5, 2.5)])
@pytest.mark.parametrize(
    ("make", "request_"), [(search_protocol, SearchRequest(b"photo")), (put_protocol, NewItem("mug", [b"photo"]))]
)
def test_a_clients_timeout_holds_for_each_request_of_a_stream(
    make: Any, request_: Any, timeout: float | None, sent: float | None
) -> None:
    _, message = make(timeout, in_flight=1, target="here").encode(request_)
    given = message.timeout.ToNanoseconds() / 1e9 if message.HasField("timeout") else None
    assert given == sent
