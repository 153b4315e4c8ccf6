"""What of the client's settings goes over the wire."""

import pytest

from semblance.client import SearchRequest
from semblance.client._client import search_protocol


@pytest.mark.parametrize(("timeout", "sent"), [(None, None), (2.5, 2.5)])
def test_a_clients_timeout_holds_for_each_request_of_a_stream(timeout: float | None, sent: float | None) -> None:
    protocol = search_protocol(timeout, in_flight=1, target="here")
    _, message = protocol.encode(SearchRequest(b"photo"))
    given = message.timeout.ToNanoseconds() / 1e9 if message.HasField("timeout") else None
    assert given == sent
