import os
import socket

import pytest

from semblance.serving import ports


def test_free_ports_are_different_and_free() -> None:
    found = ports.free(8)
    assert len(set(found)) == 8
    assert all(map(ports.is_free, found))


def test_the_holder_of_a_port_is_named() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        found = ports.holder(port)
        assert found.pid == os.getpid()
        assert f"port {port} is taken by {found.name} (pid {os.getpid()})" == str(found)
    assert ports.is_free(port)


def test_a_port_held_on_all_interfaces_is_not_free() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


def test_an_address_is_host_and_port() -> None:
    assert ports.split("127.0.0.1:50051") == ("127.0.0.1", 50051)


@pytest.mark.parametrize("address", ["50051", ":50051", "localhost:", "localhost:http", "localhost:70000", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not an address; expected host:port"):
        ports.split(address)
