"""The reference pages: that a change of the code is seen in them, and nothing of the host that writes them."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from docs.generate import api
from docs.generate.__main__ import main
from semblance.client.commands.search import search
from semblance.orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = str(ROOT / "docs" / "reference")


def check() -> str:
    """What `--check` says of the committed pages; it has to fail."""
    done = CliRunner().invoke(main, ["--check", COMMITTED])
    assert done.exit_code == 1
    return done.output


def test_a_changed_setting_makes_its_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings.model_fields["search_queue"], "default", 17)
    said = check()
    assert "+`SEMBLANCE_SEARCH_QUEUE`, `--search-queue`: integer, ≥ 0; default: `17`" in said
    assert "reference/settings.md" in said


def test_a_changed_option_makes_its_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    save = next(option for option in search.params if option.name == "save")
    assert isinstance(save, click.Option)
    monkeypatch.setattr(save, "help", "Draw it.")
    said = check()
    assert "Draw it." in said
    assert "reference/commands.md" in said


def test_a_changed_field_makes_its_page_stale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "semblance" / "v1").mkdir(parents=True)
    for source in (api.PROTO / "semblance" / "v1").glob("*.proto"):
        text = source.read_text().replace("  // Best detection first;", "  // The surest first;")
        (tmp_path / "semblance" / "v1" / source.name).write_text(text)
    monkeypatch.setattr(api, "PROTO", tmp_path)
    said = check()
    assert "+| 5 | `objects` | repeated [ObjectHits](#objecthits) | The surest first;" in said
    assert "reference/api.md" in said


def test_nothing_of_the_host_is_in_the_pages() -> None:
    """A narrow terminal, 97 cores, another home and variables of the client change nothing."""
    program = (
        "import os, runpy, sys\n"
        "os.cpu_count = lambda: 97\n"
        f"sys.argv = ['docs.generate', '--check', {COMMITTED!r}]\n"
        "runpy.run_module('docs.generate', run_name='__main__')\n"
    )
    other = {"COLUMNS": "40", "HOME": "/nonexistent", "SEMBLANCE_TARGET": "elsewhere:1", "SEMBLANCE_PIXEL_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **other}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_no_command_needs_torch_to_tell_its_help() -> None:
    program = "import sys; from docs.generate import commands; commands.page(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
