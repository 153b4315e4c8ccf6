"""What `make test-soak` looks for in an hour, in the minutes that a test may take."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MINUTES = 2


def test_the_service_does_not_grow() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--minutes", str(MINUTES)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
