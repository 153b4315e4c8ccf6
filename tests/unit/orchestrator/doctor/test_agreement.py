"""Settings against each other."""

from pathlib import Path
from typing import Any

import pytest

from semblance.orchestrator.doctor import agreement
from semblance.orchestrator.doctor.finding import Outcome
from tests.unit.orchestrator.doctor.fakes import outcomes, settings


def test_the_defaults_agree() -> None:
    assert outcomes(agreement.examine(settings())) == {}


@pytest.mark.parametrize(
    ("check", "given"),
    [
        ("door", {"listen": "0.0.0.0:1", "insecure_listen": True}),
        ("deadlines", {"default_deadline": 20, "max_deadline": 10}),
        ("drain", {"drain_grace": 5}),
        ("start", {"startup_wait": 0}),
        ("builds", {"build_share": 1}),
    ],
)
def test_what_does_not_go_together_is_a_warning(check: str, given: dict[str, Any]) -> None:
    assert outcomes(agreement.examine(settings(**given))) == {check: Outcome.WARNING}


def test_files_of_the_door_that_can_not_be_used(tmp_path: Path) -> None:
    callers = tmp_path / "callers.json"
    callers.write_text("{")
    found = agreement.entrance(settings(callers=str(callers)))
    assert found.outcome is Outcome.FAILURE
    assert str(callers) in found.found
