"""Where the service listens, and that nobody else does; and addresses as they may be shown."""

import ipaddress
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager


class AddressInUse(Exception):
    """The address can't be listened on."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"can't listen on {address}: the address is in use or not this host's; stop what uses it, or choose another"
        )


def without_password(url: str) -> str:
    """The address as logs and errors may show it."""
    return re.sub(r"//.*@", "//…@", url)


def is_loopback(listen: str) -> bool:
    """Whether only this host reaches the address; one that can't be resolved is none of its own."""
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)


def split(listen: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[IPv6]:port`. Raises ValueError."""
    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{listen!r} is not an address; expected host:port, such as 127.0.0.1:9464 or [::1]:9464")
    return host.strip("[]"), int(port)


@contextmanager
def reserved(listen: str) -> Iterator[str]:
    """Holds the address for the workers, who share it among themselves and with nobody else; gives its real port.

    Raises AddressInUse.
    """
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        holder = socket.socket(family, kind)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError:
        raise AddressInUse(listen) from None
    with holder:
        yield f"{host}:{holder.getsockname()[1]}"
