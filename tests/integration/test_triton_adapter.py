"""The Triton adapter against a real Triton, with models of a few hundred bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.errors import ContractMismatch, DeadlineExceeded, DependencyUnavailable, Overloaded
from semblance.orchestrator.release import ModelVersion, Tensor
from semblance.serving import ports, triton
from tests.inference import infer

SIDE, DIMENSION, MAX_BATCH = 4, 5, 8
LOAD_SECONDS = 60
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
WARM_UP = """
model_warmup {
  name: "batch of 1" batch_size: 1
  inputs { key: "crop" value { data_type: TYPE_UINT8 dims: [ 4, 4, 3 ] random_data: true } }
}
"""
# A request that is alone waits a second for others.
PATIENT = "dynamic_batching { max_queue_delay_microseconds: 1000000 }"
# The same, and only one may wait.
CROWDED = "dynamic_batching { max_queue_delay_microseconds: 1000000 default_queue_policy { max_queue_size: 1 } }"


def graph(factor: float, dimension: int = DIMENSION) -> bytes:
    """scores = factor × flattened crop × the first columns of WEIGHTS."""
    nodes = [
        helper.make_node("Cast", ["crop"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crop", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", dimension])],
        [numpy_helper.from_array(factor * WEIGHTS[:, :dimension], "weights")],
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
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` in two versions, two models that let a request wait, and two that a test loads: `growing`, and `torn`,
    whose second version has another length than its configuration says."""
    folder = tmp_path_factory.mktemp("repository")
    publish(folder, "tiny", versions=2)
    publish(folder, "patient", versions=1, more=PATIENT)
    publish(folder, "crowded", versions=1, more=CROWDED)
    publish(folder, "growing", versions=2, more=WARM_UP)
    publish(folder, "torn", versions=2)
    (folder / "torn" / "2" / "model.onnx").write_bytes(graph(2, dimension=4))
    return folder


@pytest.fixture(scope="module")
def inference(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Triton with the first three of them; its gRPC endpoint."""
    folder = tmp_path_factory.mktemp("triton")
    with triton.running(repository, folder, models=("tiny", "patient", "crowded")) as server:
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


@pytest.fixture
async def controlled(inference: str) -> AsyncIterator[TritonServer]:
    """Without the models that a test loads, before and after it."""
    adapter = TritonServer(inference, Mode.BYTES, slots=0)
    yield adapter
    for name in ("growing", "torn"):
        await adapter.load(name, (), "", 10)
    await adapter.close()


@pytest.fixture
async def config(repository: Path) -> Callable[[str], Awaitable[str]]:
    return FileModelRepository(str(repository)).config


async def test_a_version_is_loaded_beside_one_that_answers(
    controlled: TritonServer, config: Callable[[str], Awaitable[str]]
) -> None:
    one, two = replace(MODEL, name="growing"), replace(MODEL, name="growing", version=2)
    await controlled.load("growing", [1], await config("growing"), LOAD_SECONDS)
    await controlled.check(one, 10)
    with pytest.raises(ContractMismatch, match="growing version 2"):
        await controlled.check(two, 10)
    loaded = asyncio.Event()
    answering = asyncio.create_task(answer_until(loaded, controlled, one))
    try:
        await controlled.load("growing", [1, 2], await config("growing"), LOAD_SECONDS)
    finally:
        loaded.set()
    assert await answering > 10
    await controlled.check(one, 10)
    await controlled.check(two, 10)
    np.testing.assert_allclose(
        await infer(controlled, two, batch(3), 10), 2 * await infer(controlled, one, batch(3), 10), rtol=1e-3
    )
    await controlled.load("growing", [2], await config("growing"), LOAD_SECONDS)
    assert await controlled.ready_versions("growing", 10) == (2,)
    with pytest.raises((ContractMismatch, DependencyUnavailable), match="growing version 1"):
        await infer(controlled, one, batch(1), 10)
    await controlled.load("growing", [], await config("growing"), LOAD_SECONDS)
    assert await controlled.ready_versions("growing", 10) == ()


async def answer_until(end: asyncio.Event, models: TritonServer, model: ModelVersion) -> int:
    """How many right answers there were."""
    answers = 0
    expected = model.version * (batch(1).reshape(1, -1).astype(np.float32) @ WEIGHTS)
    while not end.is_set():
        np.testing.assert_allclose(await infer(models, model, batch(1), 10), expected, rtol=1e-3)
        answers += 1
    return answers


async def test_a_version_that_is_not_there_can_not_be_loaded(
    controlled: TritonServer, config: Callable[[str], Awaitable[str]]
) -> None:
    with pytest.raises(ContractMismatch, match=r"growing version 8, 9 .*ready: 1"):
        await controlled.load("growing", [1, 9, 8], await config("growing"), LOAD_SECONDS)
    await controlled.check(replace(MODEL, name="growing"), 10)
    with pytest.raises(ContractMismatch, match="can't serve growing"):
        await controlled.load("growing", [9], await config("growing"), LOAD_SECONDS)
    with pytest.raises(ContractMismatch, match="can't serve absent"):
        await controlled.load("absent", [1], (await config("growing")).replace("growing", "absent"), LOAD_SECONDS)


async def test_a_version_of_another_length_is_refused_beside_the_one_that_is_served(
    controlled: TritonServer, config: Callable[[str], Awaitable[str]]
) -> None:
    """Which is why it has a folder of its own."""
    one = replace(MODEL, name="torn")
    await controlled.load("torn", [1], await config("torn"), LOAD_SECONDS)
    with pytest.raises(ContractMismatch, match=r"can't serve torn.*-1,4.*config\.pbtxt says"):
        await controlled.load("torn", [1, 2], await config("torn"), LOAD_SECONDS)
    await controlled.check(one, 10)
    await infer(controlled, one, batch(1), 10)


async def test_a_model_that_was_never_loaded_can_be_unloaded(controlled: TritonServer) -> None:
    await controlled.load("growing", [], "", 10)
    assert await controlled.ready_versions("growing", 10) == ()


async def test_a_load_that_takes_too_long_says_so(
    controlled: TritonServer, config: Callable[[str], Awaitable[str]]
) -> None:
    with pytest.raises(DeadlineExceeded, match="growing"):
        await controlled.load("growing", [1], await config("growing"), 0.001)


async def test_a_triton_that_is_not_there_is_unavailable() -> None:
    [port] = ports.free(1)
    absent = TritonServer(f"127.0.0.1:{port}", Mode.AUTO, slots=1)
    for call in (
        infer(absent, MODEL, batch(1), 5),
        absent.check(MODEL, 5),
        absent.ready_versions("tiny", 5),
        absent.load("tiny", [1], "{}", 5),
    ):
        with pytest.raises(DependencyUnavailable, match=f"Triton at 127.0.0.1:{port} does not answer"):
            await call
    await absent.close()
