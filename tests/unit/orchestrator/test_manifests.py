"""What the service reads of a model repository, as `semblance publish` writes it."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance.export import repository
from semblance.export.contract import EMBEDDER, Contract, embedder_of
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.errors import ContractMismatch, NotFound
from semblance.orchestrator.release import Tensor
from tests.unit.export import graphs

SHORT = embedder_of(8)


def publish(root: Path, contract: Contract, seed: int = 0, golden: bool = True) -> Path:
    exported = root / "exported" / f"{contract.output.dims[0]}-{seed}"
    graphs.exported(exported, contract, graphs.embedder(seed, contract), golden=golden)
    return repository.publish(exported, root / "models").folder


@pytest.fixture
def models(tmp_path: Path) -> FileModelRepository:
    """Three embedders: version 2 has vectors of another length than 1 and 3."""
    publish(tmp_path, EMBEDDER)
    publish(tmp_path, SHORT)
    publish(tmp_path, EMBEDDER, seed=1, golden=False)
    return FileModelRepository(str(tmp_path / "models"))


def rewrite(folder: Path, name: str, content: bytes) -> None:
    (folder / name).chmod(0o644)
    (folder / name).write_bytes(content)


def edit(folder: Path, **changes: object) -> None:
    described = json.loads((folder / "manifest.json").read_text())
    rewrite(folder, "manifest.json", json.dumps(described | changes).encode())


async def test_a_version_is_found_in_the_folder_of_its_length(models: FileModelRepository) -> None:
    one, two = await models.describe("embedder", 1), await models.describe("embedder", 2)
    assert (one.name, one.version, one.output) == ("embedder", 1, Tensor("embedding", "FP32", (2048,)))
    assert (two.name, two.version, two.output) == ("embedder_8", 2, Tensor("embedding", "FP32", (8,)))
    await models.verify(one)
    await models.verify(two)


async def test_a_version_that_is_not_there_is_told_with_those_that_are(models: FileModelRepository) -> None:
    with pytest.raises(NotFound, match=r"no embedder version 4 \(it has 1, 2, 3\)"):
        await models.describe("embedder", 4)
    with pytest.raises(NotFound, match="no detector version 1, nor any other"):
        await models.describe("detector", 1)


async def test_the_newest_version_has_the_highest_number_of_all_folders(
    tmp_path: Path, models: FileModelRepository
) -> None:
    assert (await models.newest("embedder")).version == 3
    publish(tmp_path, SHORT, seed=9)
    newest = await models.newest("embedder")
    assert (newest.name, newest.version) == ("embedder_8", 4)
    with pytest.raises(NotFound, match="no detector; publish one"):
        await models.newest("detector")


async def test_what_is_no_version_of_the_model_is_none(tmp_path: Path, models: FileModelRepository) -> None:
    for name in (
        "embedder/.publishing-x",
        "embedder/09",
        "embedder/notes",
        "embedder_8.old/7",
        "embedder_x/7",
        "embedder_gpu_fp8/7",
        "embedder_engine_8/7",
        "my_embedder/7",
    ):
        (tmp_path / "models" / name).mkdir(parents=True)
    assert (await models.newest("embedder")).version == 3


async def test_a_number_that_two_folders_have_is_refused(tmp_path: Path, models: FileModelRepository) -> None:
    (tmp_path / "models" / "embedder_8" / "1").mkdir()
    with pytest.raises(ContractMismatch, match="embedder version 1 is in embedder and in embedder_8"):
        await models.describe("embedder", 1)


async def test_a_version_that_was_copied_to_another_number_is_refused(
    tmp_path: Path, models: FileModelRepository
) -> None:
    (tmp_path / "models" / "embedder" / "3").rename(tmp_path / "models" / "embedder" / "5")
    with pytest.raises(ContractMismatch, match="describes embedder version 3"):
        await models.describe("embedder", 5)


async def test_golden_pictures_are_those_that_were_published(tmp_path: Path, models: FileModelRepository) -> None:
    golden = await models.golden(await models.describe("embedder", 2))
    assert golden is not None
    with np.load(tmp_path / "exported" / "8-0" / "golden.npz") as published:
        np.testing.assert_array_equal(golden.inputs, published["inputs"])
        np.testing.assert_array_equal(golden.outputs, published["outputs"])


async def test_a_model_may_be_exported_without_golden_pictures(models: FileModelRepository) -> None:
    assert await models.golden(await models.describe("embedder", 3)) is None


async def test_golden_pictures_that_were_changed_are_refused(tmp_path: Path, models: FileModelRepository) -> None:
    model = await models.describe("embedder", 2)
    folder = tmp_path / "models" / "embedder_8" / "2"
    rewrite(folder, "golden.npz", (folder / "golden.npz").read_bytes() + b" ")
    with pytest.raises(ContractMismatch, match=r"golden\.npz has the SHA-256"):
        await models.golden(model)
    (folder / "golden.npz").unlink()
    with pytest.raises(ContractMismatch, match=r"golden\.npz is not there, and its manifest says so"):
        await models.golden(model)


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


INPUTS, OUTPUTS = np.zeros((2, 224, 224, 3), np.uint8), np.zeros((2, 8), np.float32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"something else", "holds no golden pictures"),
        (archive(inputs=INPUTS, outputs=OUTPUTS)[:-40], "holds no golden pictures"),
        (archive(inputs=INPUTS), "holds no golden pictures"),
        (archive(inputs=INPUTS, outputs=np.array([object()])), "holds no golden pictures"),
        (archive(inputs=INPUTS, outputs=OUTPUTS[:, :4]), r"float32 \[2, 4\], and float32 \[2, 8\] was expected"),
        (archive(inputs=INPUTS, outputs=OUTPUTS[:1]), r"\[1, 8\], and float32 \[2, 8\]"),
        (archive(inputs=INPUTS[:0], outputs=OUTPUTS[:0]), r"\[0, 224, 224, 3\]"),
        (archive(inputs=np.uint8(3), outputs=OUTPUTS), r"holds uint8 \[\]"),
        (archive(inputs=INPUTS.astype(np.int16), outputs=OUTPUTS), "holds int16"),
    ],
    ids=["no archive", "cut", "no outputs", "pickled", "other length", "other rows", "none", "a number", "other type"],
)
async def test_golden_pictures_of_another_shape_are_refused(
    tmp_path: Path, models: FileModelRepository, content: bytes, message: str
) -> None:
    folder = tmp_path / "models" / "embedder_8" / "2"
    rewrite(folder, "golden.npz", content)
    entry = {"name": "golden.npz", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit(folder, golden_file=entry)
    with pytest.raises(ContractMismatch, match=message):
        await models.golden(await models.describe("embedder", 2))


async def test_a_file_elsewhere_is_not_read(tmp_path: Path, models: FileModelRepository) -> None:
    folder = tmp_path / "models" / "embedder_8" / "2"
    described = json.loads((folder / "manifest.json").read_text())
    edit(folder, golden_file=described["golden_file"] | {"name": "../../embedder/1/golden.npz"})
    with pytest.raises(ContractMismatch, match="not a file beside it"):
        await models.golden(await models.describe("embedder", 2))


async def test_a_model_file_that_was_changed_is_refused(tmp_path: Path, models: FileModelRepository) -> None:
    model = await models.describe("embedder", 2)
    rewrite(tmp_path / "models" / "embedder_8" / "2", "model.onnx", b"something else")
    with pytest.raises(ContractMismatch, match="was published as embedder_8 version 2"):
        await models.verify(model)


async def test_a_configuration_is_given_as_json(models: FileModelRepository) -> None:
    config = json.loads(await models.config("embedder_8"))
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("embedder_8", "onnxruntime", 4)
    assert config["output"] == [{"name": "embedding", "data_type": "TYPE_FP32", "dims": ["8"]}]
    assert config["model_warmup"][0]["inputs"]["crop"]["random_data"]


@pytest.fixture
def on_gpus(tmp_path: Path) -> FileModelRepository:
    """Version 1 is a graph for a GPU, version 2 an engine of it."""
    exported = tmp_path / "gpu"
    graphs.exported(exported, SHORT, graphs.embedder(0, SHORT), golden=True, precision="fp16", gpu=graphs.L4)
    repository.publish(exported, tmp_path / "models")
    repository.publish(graphs.built(exported), tmp_path / "models")
    return FileModelRepository(str(tmp_path / "models"))


async def test_versions_for_gpus_are_found_verified_and_judged_as_others(
    tmp_path: Path, on_gpus: FileModelRepository
) -> None:
    graph, engine = await on_gpus.describe("embedder", 1), await on_gpus.newest("embedder")
    assert (graph.name, engine.name, engine.version) == ("embedder_gpu_fp16", "embedder_engine", 2)
    for model in (graph, engine):
        await on_gpus.verify(model)
        assert await on_gpus.golden(model) is not None
    rewrite(tmp_path / "models" / "embedder_engine" / "2", "model.plan", b"another engine")
    with pytest.raises(ContractMismatch, match=r"model\.plan has the SHA-256"):
        await on_gpus.verify(engine)


async def test_a_configuration_for_a_gpu_is_given_whole(on_gpus: FileModelRepository) -> None:
    graph = json.loads(await on_gpus.config("embedder_gpu_fp16"))
    (accelerator,) = graph["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
    assert accelerator["name"] == "tensorrt"
    assert accelerator["parameters"]["precision_mode"] == "FP16"
    assert accelerator["parameters"]["trt_profile_max_shapes"] == "crop:4x224x224x3"
    assert graph["instance_group"] == [{"count": 1, "kind": "KIND_GPU"}]
    engine = json.loads(await on_gpus.config("embedder_engine"))
    assert (engine["platform"], engine["default_model_filename"]) == ("tensorrt_plan", "model.plan")


async def test_a_configuration_that_can_not_be_read_is_named(tmp_path: Path, models: FileModelRepository) -> None:
    with pytest.raises(NotFound, match=r"embedder_9/config\.pbtxt is not there"):
        await models.config("embedder_9")
    (tmp_path / "models" / "embedder_8" / "config.pbtxt").write_text("name: embedder_8 {")
    with pytest.raises(ContractMismatch, match=r"config\.pbtxt is not a Triton configuration"):
        await models.config("embedder_8")
