"""Prometheus' programs, for tests that need them."""

import os
from pathlib import Path

import pytest

from semblance.observability import prometheus


def program(name: str) -> Path:
    """Where it is not installed the test fails with CI, and is skipped elsewhere."""
    try:
        return prometheus.program(name)
    except prometheus.MissingProgram as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
