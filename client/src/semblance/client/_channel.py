"""How the connections of a client behave, and what they show of the client."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import grpc

from semblance.client._retry import POLICY
from semblance.client._translate import MAX_MESSAGE_BYTES

Metadata = tuple[tuple[str, str], ...]


class CallOptions(TypedDict):
    """What goes with each call that is not a stream."""

    timeout: float
    metadata: Metadata


DEFAULT_TARGET = "127.0.0.1:50051"

CALL_TIMEOUT = 10.0
"""Seconds for the answer to a call that is not a stream."""

RELEASE_TIMEOUT = 60.0
"""The same of `releases`: a switch waits up to 40 s, until what was put is in the release's index and every
orchestrator follows."""

STREAM_TIMEOUT = 120.0
"""Seconds without an answer after which a stream is given up. Longer than the 60 s that the service gives a request at
most: it shall fail the one slow request, rather than the client the whole stream."""

STREAM_GRACE = 5.0
"""Seconds that a stream is given beyond the time that its requests name, for the same reason."""


def patience(timeout: float | None) -> float:
    """Seconds without an answer after which a stream whose requests name `timeout` is given up."""
    return STREAM_TIMEOUT if timeout is None else timeout + STREAM_GRACE


IN_FLIGHT = 16
"""Requests sent and not yet answered on one stream. Enough to fill a batch of the models; a client holds
about as many images in memory."""

_SERVICE_CONFIG = {
    "methodConfig": [
        {"name": [{}], "retryPolicy": POLICY},
        # A second attempt would count nothing of what the first one deleted, or roll back what it rolled back.
        {
            "name": [
                {"service": "semblance.v1.FeedbackService", "method": "Delete"},
                *(
                    {"service": "semblance.v1.ReleaseService", "method": method}
                    for method in ("Create", "Activate", "Rollback", "Retire")
                ),
            ]
        },
        # `_exchange` does it: gRPC forgets what is larger than its buffer, and does not say how often it sent the rest.
        {
            "name": [
                {"service": "semblance.v1.SearchService", "method": "SearchStream"},
                {"service": "semblance.v1.CatalogService", "method": "Put"},
                {"service": "semblance.v1.ReleaseService", "method": "BuildItems"},
            ]
        },
    ]
}

_SPREAD = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # Of `grpc.health.v1.Health`: whether an orchestrator takes calls, whatever it then has to say.
    "healthCheckConfig": {"serviceName": "traffic"},
}

_OPTIONS: list[tuple[str, int | str]] = [
    # C-core forgets retries, in silence, for requests larger than this; its default is 256 KiB.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # The service allows a ping every 30 s and ends the connection of who pings more often.
    ("grpc.keepalive_time_ms", 40_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # By default gRPC waits up to two minutes before it tries to reach a restarted service again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A connection of its own for each client: the workers of a service share connections, not requests.
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True, slots=True)
class Tls:
    """How the service is known, and how the client is known to it: PEM files.

    Attributes:
        ca: certificates one of which must have signed the service's; by default those that gRPC trusts anyway.
        certificate: the client's own certificate chain, where the service asks for one (mTLS).
        key: the key of that certificate.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key belong together; give both or none")

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError where a file can't be read."""
        ca, key, certificate = (None if path is None else Path(path).read_bytes() for path in self._paths())
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def _paths(self) -> tuple[str | Path | None, ...]:
        return self.ca, self.key, self.certificate


def options(target: str, tls: Tls | None) -> list[tuple[str, int | str]]:
    """Of a channel to `target`. One that is written as addresses, or as a name to be looked up, may be several
    orchestrators: calls take turns among those that take any.

    Raises ValueError where a certificate can't be compared with the target.
    """
    if tls is not None and "," in target:
        raise ValueError(
            f"{target} has no one name that a certificate could be for; over TLS take a name that has all the "
            "addresses: dns:///HOST:PORT"
        )
    several = target.startswith(("ipv4:", "ipv6:", "dns:"))
    return [("grpc.service_config", json.dumps(_SERVICE_CONFIG | (_SPREAD if several else {}))), *_OPTIONS]


def bearer(token: str | None, target: str, tls: Tls | None) -> Metadata:
    """What shows the token with a call; nothing where there is none.

    Raises ValueError where the token would cross a network in the clear.
    """
    if token is None:
        return ()
    if tls is None and not _is_this_host(target):
        raise ValueError(
            f"a token goes to {target} over TLS only; name the service's CA, or take a target on this host"
        )
    return (("authorization", f"Bearer {token}"),)


def _is_this_host(target: str) -> bool:
    """Of gRPC's names for targets: addresses that all loop back, `localhost`, or a socket of the file system."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    return all(map(_loops_back, re.sub(r"^(dns:(///)?|ipv4:|ipv6:)", "", target).split(",")))


def _loops_back(address: str) -> bool:
    host = re.sub(r":\d+$", "", address).strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
