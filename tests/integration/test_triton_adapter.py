"""The Triton adapter against a real Triton, with models of a few hundred bytes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.errors import ContractMismatch, DeadlineExceeded, DependencyUnavailable, Overloaded
from semblance.orchestrator.release import ModelVersion, Tensor
from semblance.serving import ports, triton
from tests.inference import infer

SIDE, DIMENSION, MAX_BATCH = 4, 5, 8
WEIGHTS = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, DIMENSION)).astype(np.float32)

MODEL = ModelVersion(
    name="tiny",
    version=1,
    sha256="",
    input=Tensor("crop", "UINT8", (SIDE, SIDE, 3)),
    output=Tensor("scores", "FP32", (DIMENSION,)),
    max_batch_size=MAX_BATCH,
    pad_value=114,
)
CONFIG = """
name: "{name}"
backend: "onnxruntime"
max_batch_size: 8
version_policy {{ all {{ }} }}
input {{ name: "crop" data_type: TYPE_UINT8 dims: [ 4, 4, 3 ] }}
output {{ name: "scores" data_type: TYPE_FP32 dims: [ 5 ] }}
instance_group {{ count: {instances} kind: KIND_CPU }}
{more}
"""
# A request that is alone waits a second for others.
PATIENT = "dynamic_batching { max_queue_delay_microseconds: 1000000 }"
# The same, and only one may wait.
CROWDED = "dynamic_batching { max_queue_delay_microseconds: 1000000 default_queue_policy { max_queue_size: 1 } }"


def graph(factor: float) -> bytes:
    """scores = factor × flattened crop × WEIGHTS."""
    nodes = [
        helper.make_node("Cast", ["crop"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crop", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", DIMENSION])],
        [numpy_helper.from_array(factor * WEIGHTS, "weights")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def publish(repository: Path, name: str, versions: int, more: str = "", instances: int = 1) -> None:
    for version in range(1, versions + 1):
        folder = repository / name / str(version)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graph(version))
    (repository / name / "config.pbtxt").write_text(CONFIG.format(name=name, more=more, instances=instances))


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Triton with `tiny` in two versions, and two models that let a request wait; its gRPC endpoint."""
    folder = tmp_path_factory.mktemp("triton")
    repository = folder / "repository"
    publish(repository, "tiny", versions=2)
    publish(repository, "patient", versions=1, more=PATIENT)
    publish(repository, "crowded", versions=1, more=CROWDED)
    with triton.running(repository, folder) as server:
        yield server.grpc


@pytest.fixture(params=[Mode.BYTES, Mode.SHARED_MEMORY])
async def models(inference: str, request: pytest.FixtureRequest) -> AsyncIterator[TritonServer]:
    adapter = TritonServer(inference, request.param, slots=4)
    await adapter.transport.judged(30)
    yield adapter
    await adapter.close()


def batch(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).integers(0, 256, (rows, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("rows", [1, 3, MAX_BATCH])
@pytest.mark.parametrize("version", [1, 2])
async def test_infers_with_the_very_version(models: TritonServer, rows: int, version: int) -> None:
    crops = batch(rows)
    output = await infer(models, replace(MODEL, version=version), crops, 10)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, version * (crops.reshape(rows, -1).astype(np.float32) @ WEIGHTS), rtol=1e-3)


async def test_a_model_that_is_what_it_should_be_passes(models: TritonServer) -> None:
    await models.check(MODEL, 10)
    assert await models.ready_versions("tiny", 10) == (1, 2)
    assert await models.ready_versions("absent", 10) == ()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (replace(MODEL, version=3), "tiny version 3"),
        (replace(MODEL, name="absent"), "absent version 1"),
        (replace(MODEL, input=Tensor("image", "UINT8", (4, 4, 3))), "inputs"),
        (replace(MODEL, input=Tensor("crop", "FP32", (4, 4, 3))), "inputs"),
        (replace(MODEL, output=Tensor("scores", "FP32", (6,))), r"-1, 5.*manifest says.*-1, 6"),
        (replace(MODEL, max_batch_size=16), "batches of 8 in Triton, and its manifest says 16"),
    ],
)
async def test_a_model_that_is_not_what_it_should_be_is_refused(
    models: TritonServer, model: ModelVersion, message: str
) -> None:
    with pytest.raises(ContractMismatch, match=message):
        await models.check(model, 10)


async def test_inference_with_an_unknown_model_or_input_is_refused(models: TritonServer) -> None:
    with pytest.raises(ContractMismatch, match="absent version 1"):
        await infer(models, replace(MODEL, name="absent"), batch(1), 10)
    with pytest.raises(ContractMismatch, match="refuses the input"):
        await infer(
            models, replace(MODEL, input=Tensor("crop", "UINT8", (5, 5, 3))), np.zeros((1, 5, 5, 3), np.uint8), 10
        )


async def test_inference_with_a_version_that_is_not_loaded_is_refused(models: TritonServer) -> None:
    with pytest.raises((ContractMismatch, DependencyUnavailable), match="tiny version 3"):
        await infer(models, replace(MODEL, version=3), batch(1), 10)


async def test_a_deadline_that_passes_says_so(models: TritonServer) -> None:
    with pytest.raises(DeadlineExceeded, match="patient version 1"):
        await infer(models, replace(MODEL, name="patient"), batch(1), 0.2)


async def test_a_full_queue_is_overload(models: TritonServer) -> None:
    crowded = replace(MODEL, name="crowded")
    results = await asyncio.gather(*(infer(models, crowded, batch(1), 10) for _ in range(4)), return_exceptions=True)
    assert any(isinstance(result, Overloaded) for result in results), results
    assert any(isinstance(result, np.ndarray) for result in results), results


async def test_cancellation_passes_through(models: TritonServer) -> None:
    waiting = asyncio.create_task(infer(models, replace(MODEL, name="patient"), batch(1), 10))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_triton_that_is_not_there_is_unavailable() -> None:
    [port] = ports.free(1)
    absent = TritonServer(f"127.0.0.1:{port}", Mode.AUTO, slots=1)
    for call in (infer(absent, MODEL, batch(1), 5), absent.check(MODEL, 5), absent.ready_versions("tiny", 5)):
        with pytest.raises(DependencyUnavailable, match=f"Triton at 127.0.0.1:{port} does not answer"):
            await call
    await absent.close()
