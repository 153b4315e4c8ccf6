"""What a client shows of itself, and to whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from semblance.client import AsyncClient, Client, Tls
from semblance.client.commands.group import semblance
from semblance.client.testing import FakeSemblance


@pytest.mark.parametrize(
    "target",
    [
        "10.0.0.1:50051",
        "semblance.example:50051",
        "127.0.0.1.example:50051",
        "localhost.example:50051",
        "dns:///semblance.example:50051",
        "dns://192.0.2.1/localhost:50051",
        "ipv4:192.0.2.1:50051",
        "[2001:db8::1]:50051",
        "ipv4:127.0.0.1:50051,192.0.2.1:50051",
        "ipv4:192.0.2.1:50051,127.0.0.1:50051",
        "semblance.example",
        "unix.example:50051",
    ],
)
async def test_a_token_crosses_no_network_in_the_clear(target: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="over TLS only") as raised:
            kind(target, token="semblance.shop.hunter2")
        assert "hunter2" not in str(raised.value)
    if "," not in target:
        Client(target, token="semblance.shop.hunter2", tls=Tls()).close()


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:1",
        "localhost:1",
        "[::1]:1",
        "dns:///localhost:1",
        "ipv4:127.0.0.1:1",
        "ipv4:127.0.0.2:1,127.0.0.3:1",
        "ipv6:[::1]:1,[::1]:2",
        "unix:/run/x",
        "localhost",
    ],
)
def test_a_token_goes_to_this_host_as_it_is(target: str) -> None:
    Client(target, token="semblance.shop.hunter2").close()


async def test_addresses_have_no_certificate() -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="a name that has all the addresses"):
            kind("ipv4:192.0.2.1:50051,192.0.2.2:50051", tls=Tls())


def test_a_certificate_needs_its_key() -> None:
    for half in ({"certificate": "c.pem"}, {"key": "k.pem"}):
        with pytest.raises(ValueError, match="belong together"):
            Tls(**half)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(OSError, match=r"ca\.pem"):
        Client("127.0.0.1:1", tls=Tls("/nowhere/ca.pem"))


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner(env={"COLUMNS": "200", **variables}).invoke(semblance, ["count", *arguments])


def test_a_command_takes_its_token_from_a_file_or_a_variable_and_never_shows_it(
    fake: FakeSemblance, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("semblance.shop.hunter2\n")
    remote = "semblance.example:50051"
    assert run("--token-file", str(file), "--target", fake.target).exit_code == 0
    for result in (
        run("--token-file", str(file), "--target", remote),
        run("--target", remote, SEMBLANCE_TOKEN="semblance.shop.hunter2"),
        run("--target", remote, SEMBLANCE_TOKEN_FILE=str(file)),
    ):
        assert result.exit_code == 2
        assert "a token goes to semblance.example:50051 over TLS only" in result.output
        assert "hunter2" not in result.output
    shown = run("--help", SEMBLANCE_TOKEN="semblance.shop.hunter2")
    assert "SEMBLANCE_TOKEN" in shown.output
    assert "hunter2" not in shown.output
    assert "No such option" in run("--token", "semblance.shop.hunter2").output


@pytest.mark.parametrize("option", ["--ca", "--token-file"])
def test_a_command_names_the_file_that_it_can_not_read(option: str) -> None:
    result = run(option, "/nowhere/file")
    assert result.exit_code == 1
    assert "can't read /nowhere/file: No such file or directory" in result.output
