"""A Triton with models of a few hundred bytes: `tiny`, `patient`, in which a request waits a second for others, and
`pair`, the same in two instances."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from semblance.serving import triton
from tests.integration.test_triton_adapter import PATIENT, publish


@pytest.fixture(scope="module")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    publish(folder, "tiny", versions=1)
    publish(folder, "patient", versions=1, more=PATIENT)
    publish(folder, "pair", versions=1, more=PATIENT, instances=2)
    return folder


@pytest.fixture(scope="module")
def tiny_triton(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with triton.running(tiny_repository, tmp_path_factory.mktemp("triton")) as server:
        yield server.grpc
