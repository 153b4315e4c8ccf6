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


def test_a_port_is_taken_at_the_address_that_is_listened_on() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"this host has no IPv6: {error.strerror}")
    with server:
        port = server.getsockname()[1]
        assert not ports.is_free(port, "::1")
        assert f"is taken by {ports.holder(port).name} (pid {os.getpid()})" in str(ports.obstacle(port, "::1"))
        assert ports.is_free(port)
    assert ports.is_free(port, "::1")
    assert ports.obstacle(port, "::1") is None


@pytest.mark.parametrize(
    ("host", "reason"),
    [("no-such-host.invalid", "can't listen on no-such-host.invalid"), ("192.0.2.1", "Cannot assign")],
)
def test_a_host_that_is_not_this_one_is_not_called_busy(host: str, reason: str) -> None:
    [port] = ports.free(1)
    with pytest.raises(OSError, match=r"\[Errno"):
        ports.is_free(port, host)
    obstacle = ports.obstacle(port, host)
    assert obstacle is not None
    assert reason in obstacle
    assert "taken" not in obstacle


def test_one_address_of_a_host_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `localhost` where the names of both protocols are known and one is switched off."""
    [port] = ports.free(1)
    [here] = socket.getaddrinfo(ports.LOOPBACK, port, type=socket.SOCK_STREAM)
    [elsewhere] = socket.getaddrinfo("192.0.2.1", port, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: [elsewhere, here])
    assert ports.is_free(port, "both")


@pytest.mark.parametrize(
    ("address", "host"), [("127.0.0.1:50051", "127.0.0.1"), ("localhost:50051", "localhost"), ("[::1]:50051", "::1")]
)
def test_an_address_is_host_and_port(address: str, host: str) -> None:
    assert ports.split(address) == (host, 50051)


@pytest.mark.parametrize(
    "address",
    ["50051", ":50051", "localhost:", "localhost:http", "localhost:70000", "", "::1:50051", "[]:50051", "[::1]"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not an address; expected host:port"):
        ports.split(address)
