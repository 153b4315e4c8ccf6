"""Where the service listens, and that nobody else does."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


class AddressInUse(Exception):
    """The address can't be listened on."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"can't listen on {address}: the address is in use or not this host's; stop what uses it, or set "
            "SEMBLANCE_LISTEN"
        )


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
    except OSError:
        raise AddressInUse(listen) from None
    with holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
        yield f"{host}:{holder.getsockname()[1]}"
