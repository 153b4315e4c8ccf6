"""What `make check` finds in the documentation: each slip is made in a copy of it, and has to be caught."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# What the checks read. Of all other files they only ask whether they are there.
READ = ("docs/", "proto/", "Makefile", "mkdocs.yml", "pyproject.toml")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A clone with this one's files, those without a bearing on documentation empty, and its environments."""
    listing = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    for name in subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".md") or name.startswith(READ):
                shutil.copyfile(ROOT / name, tmp_path / name)
            else:
                (tmp_path / name).touch()
    subprocess.run(("git", "init", "--quiet"), cwd=tmp_path, check=True)
    subprocess.run(("git", "add", "--all"), cwd=tmp_path, check=True)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def check(tree: Path, target: str = "check-docs", **variables: str) -> tuple[int, str]:
    """Status and output of make in the copy. Environments are not built again."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", target, "BUILD=true", *(f"{name}={value}" for name, value in variables.items())],
        cwd=tree,
        env=outer,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text()}\n{text}\n")


def test_the_documentation_is_whole(tree: Path) -> None:
    status, said = check(tree)
    assert status == 0, said


def test_every_slip_in_a_page_stops_the_site(tree: Path) -> None:
    slips = ("gone.md", "models.md#no-such-heading", "#nowhere-here", "../orchestrator/gone.py")
    append(tree / "docs" / "concepts.md", "".join(f"[slip]({target}) " for target in slips))
    (tree / "docs" / "reference" / "notes.md").write_text("# A page without a place\n")
    status, said = check(tree, "docs")
    assert status != 0
    assert "Aborted with 5 warnings" in said
    for named in ("gone.md", "#no-such-heading", "#nowhere-here", "../orchestrator/gone.py", "reference/notes.md"):
        assert named in said


def test_every_dead_link_outside_the_site_is_named(tree: Path) -> None:
    slips = {
        "README.md": "docs/gone.md",
        "CONTRIBUTING.md": "CHANGELOG.md#no-such-heading",
        "demo/MODEL_CARD.md": "gone.py",
        "CHANGELOG.md": "https://[broken",
    }
    for page, target in slips.items():
        append(tree / page, f"[slip]({target})")
    status, said = check(tree)
    assert status != 0
    for page, target in slips.items():
        assert any(page in line and f"Link: {target}" in line for line in said.splitlines()), said
    assert "Found 4 dead links" in said


def test_a_stale_reference_is_named_with_what_to_do(tree: Path) -> None:
    append(tree / "docs" / "reference" / "commands.md", "semblance frobnicate")
    status, said = check(tree)
    assert status != 0
    assert "-semblance frobnicate" in said
    assert "make references" in said


def test_links_to_code_lead_into_the_clone_or_to_the_named_repository(tree: Path) -> None:
    page = tree / "site" / "reference" / "api.html"
    assert check(tree, "docs", DOCS_SOURCE="https://example.org/semblance/blob/main/")[0] == 0
    assert 'href="https://example.org/semblance/blob/main/proto/semblance/v1"' in page.read_text()
    assert check(tree, "docs")[0] == 0
    assert 'href="../../proto/semblance/v1"' in page.read_text()
    # Pictures come along, and nothing comes from another host.
    start = (tree / "site" / "index.html").read_text()
    assert 'src="demo/result.png"' in start
    assert (tree / "site" / "demo" / "result.png").exists()
    assert 'src="assets/iframe-worker.js"' in start
    assert 'src="http' not in start
    assert 'rel="stylesheet" href="http' not in start
