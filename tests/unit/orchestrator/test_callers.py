"""The file of callers, and the command that writes tokens into it."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from semblance.orchestrator.caller import Role
from semblance.orchestrator.grpc_edge.callers import Callers, digest, new_token
from semblance.orchestrator.settings import SettingsError
from semblance.orchestrator.token_command import token

GOOD = {"name": "shop", "roles": ["search"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "callers.json"


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(token, [*arguments, "--callers", str(path)])


def test_a_token_is_shown_once_and_known_from_then_on(path: Path) -> None:
    first = run(path, "shop", "--role", "search").output.strip()
    admin = run(path, "ops", "--role", "admin", "--role", "ingest", "--requests-per-second", "5").output.strip()
    path.chmod(0o640)
    second = run(path, "shop").output.strip()
    callers = Callers(path)
    shop, ops = callers.by_token(first), callers.by_token(admin)
    assert shop is callers.by_token(second)
    assert shop is not None
    assert ops is not None
    assert (shop.name, shop.roles, shop.rate) == ("shop", frozenset({Role.SEARCH}), None)
    assert (ops.name, ops.roles) == ("ops", frozenset({Role.INGEST, Role.ADMIN}))
    assert ops.rate is not None
    text = path.read_text()
    assert not [each for each in (first, second, admin) if each.rpartition(".")[2] in text]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a b", "--role", "search"], "name: String should match pattern"),
        (["new"], "new is new in"),
        (["new", "--role", "root"], "'root' is not one of 'search', 'ingest', 'admin'"),
        (["new", "--role", "search", "--burst", "3"], "burst needs requests_per_second"),
        (["new", "--role", "search", "--requests-per-second", "0"], "greater than 0"),
        (["shop", "--role", "admin"], "is in .* already"),
    ],
)
def test_what_can_not_be_a_caller_changes_nothing(path: Path, arguments: list[str], message: str) -> None:
    run(path, "shop", "--role", "search")
    before = path.read_bytes()
    result = run(path, *arguments)
    assert result.exit_code != 0
    assert re.search(message, result.output)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Invalid JSON"),
        ("[]", "object"),
        ({"callers": [{"name": "shop"}]}, r"callers.0.roles: Field required"),
        ({"callers": [GOOD | {"roles": []}]}, "callers.0.roles"),
        ({"callers": [GOOD | {"roles": ["root"]}]}, "'search', 'ingest' or 'admin'"),
        ({"callers": [GOOD | {"name": "a.b"}]}, "callers.0.name"),
        ({"callers": [GOOD | {"role": "search"}]}, "callers.0.role: Extra inputs"),
        ({"callers": [GOOD | {"requests_per_second": -1}]}, "greater than 0"),
        ({"callers": [GOOD | {"tokens": [{"sha256": "hunter2", "created": "2026-01-31"}]}]}, "tokens.0.sha256"),
        ({"callers": [GOOD, GOOD]}, "shop is there twice"),
        (
            {"callers": [GOOD | {"certificates": ["x"]}, GOOD | {"name": "b", "certificates": ["x"]}]},
            "x is there twice",
        ),
    ],
)
def test_a_wrong_file_is_named_and_not_shown(path: Path, content: Any, message: str) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SettingsError, match=message) as raised:
        Callers(path)
    assert str(path) in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read: No such file"):
        Callers(path)


def test_only_the_very_token_is_known(path: Path) -> None:
    shown = run(path, "shop", "--role", "search").output.strip()
    run(path, "ops", "--role", "admin")
    callers = Callers(path)
    secret = shown.rpartition(".")[2]
    for wrong in (
        *("", ".", "..", "semblance", "semblance.shop", "semblance.shop.", "semblance..", "ÿ.shop.x", "\0"),
        *(secret, f"shop.{secret}", f"semblance.ops.{secret}", shown + ".", shown.upper(), f" {shown}"),
        *(digest(shown).hex(), f"semblance.shop.{digest(shown).hex()}", new_token("shop")),
    ):
        assert callers.by_token(wrong) is None, wrong
    assert callers.by_token(shown) is not None
