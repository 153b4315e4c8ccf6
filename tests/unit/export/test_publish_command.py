"""`semblance publish` and `semblance export` where there is no torch, as a user runs them."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from semblance.export import repository
from semblance.export.contract import EMBEDDER
from tests.unit.export import graphs

SEMBLANCE = Path(sys.executable).with_name("semblance")


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(SEMBLANCE), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return graphs.exported(tmp_path / "exported", EMBEDDER, graphs.embedder())


def test_a_folder_is_published_once(exported: Path, tmp_path: Path) -> None:
    first = run(tmp_path, "publish", exported)
    assert first.returncode == 0, first.stderr
    assert "embedder: published as model_repository/embedder/1" in first.stdout
    again = run(tmp_path, "publish", exported)
    assert again.returncode == 0, again.stderr
    assert "embedder: already published as model_repository/embedder/1" in again.stdout
    assert repository.versions(tmp_path / "model_repository" / "embedder") == [1]


def test_a_version_that_stands_is_refused_with_the_reason(exported: Path, tmp_path: Path) -> None:
    run(tmp_path, "publish", exported)
    refused = run(tmp_path, "publish", exported, "--version", 1)
    assert refused.returncode == 1
    assert "a published version never changes" in refused.stderr


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    refused = run(tmp_path, "publish", tmp_path)
    assert refused.returncode == 1
    assert "expected a folder that `semblance export" in refused.stderr


@pytest.mark.skipif(find_spec("torch") is not None, reason="this environment has torch")
def test_exporting_without_torch_names_the_environment_that_has_it(tmp_path: Path) -> None:
    refused = run(tmp_path, "export", "embedder", "--random-seed", 1)
    assert refused.returncode == 1
    assert "make setup-export" in refused.stderr
    assert ".venv/export/bin/semblance export" in refused.stderr
