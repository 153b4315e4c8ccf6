"""How the one connection of a client behaves."""

from __future__ import annotations

import json

from semblance.client._translate import MAX_MESSAGE_BYTES

DEFAULT_TARGET = "127.0.0.1:50051"

CALL_TIMEOUT = 10.0
"""Seconds for the answer to a call that is not a stream."""

STREAM_TIMEOUT = 120.0
"""Seconds without an answer after which a stream is given up. Longer than the 60 s that the service gives a request at
most: it shall fail the one slow request, rather than the client the whole stream."""

STREAM_GRACE = 5.0
"""Seconds that a stream is given beyond the time that its requests name, for the same reason."""

IN_FLIGHT = 16
"""Requests sent and not yet answered on one stream. Enough to fill a batch of the models; a client holds
about as many images in memory."""

_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

_SERVICE_CONFIG = {
    "methodConfig": [
        {"name": [{}], "retryPolicy": _RETRY},
        # A second attempt would answer NOT_FOUND for what the first one deleted.
        {"name": [{"service": "semblance.v1.CatalogService", "method": "Delete"}]},
    ]
}

OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # C-core forgets retries, in silence, for requests larger than this; its default is 256 KiB.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # The service allows a ping every 30 s and ends the connection of who pings more often.
    ("grpc.keepalive_time_ms", 40_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]
