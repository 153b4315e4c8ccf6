"""The demo's models on a real Triton, with OpenVINO, against what they answered when they were exported."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.errors import ContractMismatch
from semblance.orchestrator.golden import compare_golden
from semblance.orchestrator.ports import Golden
from semblance.orchestrator.release import ModelVersion
from semblance.serving import triton

TIMEOUT = 60


@pytest.fixture
async def models(inference: triton.Triton) -> AsyncIterator[TritonServer]:
    adapter = TritonServer(inference.grpc, Mode.BYTES, slots=0)
    yield adapter
    await adapter.close()


async def published(repository: Path, name: str) -> tuple[ModelVersion, Golden]:
    files = FileModelRepository(str(repository))
    model = await files.newest(name)
    golden = await files.golden(model)
    assert golden is not None
    return model, golden


@pytest.mark.parametrize("name", ["detector", "embedder"])
async def test_a_model_answers_as_it_did_when_it_was_exported(
    repository: Path, models: TritonServer, name: str
) -> None:
    await compare_golden(models, *await published(repository, name), TIMEOUT)


@pytest.mark.parametrize("name", ["detector", "embedder"])
async def test_a_model_that_answers_to_another_picture_is_found_out(
    repository: Path, models: TritonServer, name: str
) -> None:
    model, golden = await published(repository, name)
    mixed_up = Golden(np.roll(golden.inputs, 1, axis=0), golden.outputs)
    with pytest.raises(ContractMismatch, match=f"{name} version 1 does not answer golden picture 1"):
        await compare_golden(models, model, mixed_up, TIMEOUT)
