import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_ci_checks_and_tests_and_says_that_it_is_ci(tmp_path: Path) -> None:
    """Wherever it runs: tests whose server is missing fail then, where they would be skipped."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$1 CI=$CI"\n')
    make.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    done = subprocess.run([ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["check CI=1", "test CI=1"]
