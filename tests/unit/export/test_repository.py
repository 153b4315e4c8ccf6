"""Publishing: atomic, once, and never over what stands."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from semblance.export import int8_weights, manifest, repository
from semblance.export.contract import DETECTOR, EMBEDDER, embedder_of
from semblance.export.errors import ContractError, DigestMismatch, VersionExists
from tests.unit.export import graphs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return graphs.exported(tmp_path / "exported", EMBEDDER, graphs.embedder())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "model_repository"


def test_version_1_stands_whole_beside_its_configuration(folder: Path, models: Path) -> None:
    published = repository.publish(folder, models)
    assert published.is_new
    assert published.folder == models / "embedder" / "1"
    verified = manifest.verify(models / "embedder" / "1")
    assert verified.version == 1
    assert verified.published_at.endswith("Z")
    assert (models / "embedder" / "1" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert "max_batch_size: 4" in (models / "embedder" / "config.pbtxt").read_text()


def test_other_weights_become_the_next_version(folder: Path, models: Path, tmp_path: Path) -> None:
    repository.publish(folder, models)
    other = graphs.exported(tmp_path / "other", EMBEDDER, graphs.embedder(seed=1))
    assert repository.publish(other, models).manifest.version == 2
    assert repository.versions(models / "embedder") == [1, 2]


def test_the_configuration_allows_no_larger_batch_than_every_version_was_checked_with(
    folder: Path, models: Path, tmp_path: Path
) -> None:
    repository.publish(folder, models)
    repository.publish(graphs.exported(tmp_path / "8", EMBEDDER, graphs.embedder(seed=8), max_batch_size=8), models)
    assert "max_batch_size: 4\n" in (models / "embedder" / "config.pbtxt").read_text()


def test_a_version_of_smaller_batches_than_releases_count_on_is_refused(
    folder: Path, models: Path, tmp_path: Path
) -> None:
    repository.publish(folder, models)
    smaller = graphs.exported(tmp_path / "2", EMBEDDER, graphs.embedder(seed=2), max_batch_size=2)
    with pytest.raises(ContractError, match=r"takes batches of 2, .* take 4.*--max-batch-size 4 or more"):
        repository.publish(smaller, models)
    assert repository.versions(models / "embedder") == [1]
    assert "max_batch_size: 4\n" in (models / "embedder" / "config.pbtxt").read_text()


def test_the_same_bytes_are_not_published_twice(folder: Path, models: Path) -> None:
    first = repository.publish(folder, models)
    again = repository.publish(folder, models)
    assert not again.is_new
    assert again.folder == first.folder
    assert repository.versions(models / "embedder") == [1]


def test_a_version_that_stands_is_refused(folder: Path, models: Path) -> None:
    repository.publish(folder, models, version=3)
    with pytest.raises(VersionExists, match="publish version 4"):
        repository.publish(folder, models, version=3)


def test_changed_bytes_are_refused(folder: Path, models: Path) -> None:
    model = folder / "model.onnx"
    content = bytearray(model.read_bytes())
    content[-200] ^= 1
    model.write_bytes(content)
    with pytest.raises(DigestMismatch, match="restore it or export again"):
        repository.publish(folder, models)
    assert not (models / "embedder").exists()


def test_a_published_version_that_was_changed_is_not_taken_for_published(folder: Path, models: Path) -> None:
    model = repository.publish(folder, models).folder / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(b"something else")
    with pytest.raises(DigestMismatch):
        repository.publish(folder, models)


def test_a_graph_of_another_contract_is_refused(tmp_path: Path, models: Path) -> None:
    folder = graphs.exported(tmp_path / "wrong", DETECTOR, graphs.embedder())
    with pytest.raises(ContractError, match=r"input is crop UINT8 \[batch,224,224,3\]; expected image UINT8"):
        repository.publish(folder, models)


def test_weights_in_other_files_are_refused(folder: Path, models: Path) -> None:
    """The digest is of one file."""
    model = onnx.load(folder / "model.onnx")
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    described = manifest.read(folder)
    described.model_file.CopyFrom(manifest.file_entry(folder / "model.onnx"))
    manifest.write(described, folder)
    with pytest.raises(ContractError, match="weights in other files"):
        repository.publish(folder, models)
    assert not list(models.rglob("*.onnx"))


def test_a_symbolic_output_dimension_is_refused(tmp_path: Path, models: Path) -> None:
    model = graphs.embedder()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "size"
    folder = graphs.exported(tmp_path / "symbolic", EMBEDDER, model)
    with pytest.raises(ContractError, match=r"embedding FP32 \[batch,size\]; expected embedding FP32 \[batch,2048\]"):
        repository.publish(folder, models)


SHORT = embedder_of(512)


def test_a_projected_embedder_is_configured_with_its_own_length(tmp_path: Path, models: Path) -> None:
    folder = graphs.exported(tmp_path / "projected", SHORT, graphs.embedder(contract=SHORT))
    repository.publish(folder, models)
    config = text_format.Parse((models / "embedder" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert list(config.output[0].dims) == [512]


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """An embedder of 512 numbers, for batches of 2."""
    return graphs.exported(tmp_path / "short", SHORT, graphs.embedder(contract=SHORT), max_batch_size=2)


def test_a_version_of_another_length_has_a_folder_of_its_own_and_the_next_number(
    folder: Path, short: Path, tmp_path: Path, models: Path
) -> None:
    repository.publish(folder, models)
    published = repository.publish(short, models)
    assert published.folder == models / "embedder_512" / "2"
    assert (published.manifest.model, published.manifest.version) == ("embedder", 2)
    config = text_format.Parse((models / "embedder_512" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert (config.name, list(config.output[0].dims), config.max_batch_size) == ("embedder_512", [512], 2)
    assert "dims: 2048" in (models / "embedder" / "config.pbtxt").read_text()
    other = graphs.exported(tmp_path / "other", EMBEDDER, graphs.embedder(seed=1))
    assert repository.publish(other, models).folder == models / "embedder" / "3"


def test_a_version_of_another_length_that_stands_is_not_published_twice(
    folder: Path, short: Path, models: Path
) -> None:
    repository.publish(folder, models)
    first = repository.publish(short, models)
    again = repository.publish(short, models)
    assert (again.is_new, again.folder) == (False, first.folder)


def test_a_number_is_taken_whatever_the_length_of_its_vectors(folder: Path, short: Path, models: Path) -> None:
    repository.publish(folder, models, version=7)
    with pytest.raises(VersionExists, match=r"embedder/7 is published already.*publish version 8"):
        repository.publish(short, models, version=7)
    assert not (models / "embedder_512").exists()


def test_a_folder_that_only_looks_like_the_models_is_none_of_its(folder: Path, models: Path) -> None:
    for name in ("embedder_x", "embedder_512.old", "my_embedder", "embedderx"):
        (models / name / "9").mkdir(parents=True)
    assert repository.publish(folder, models).manifest.version == 1


def test_a_graph_of_another_length_than_its_manifest_says_is_refused(tmp_path: Path, models: Path) -> None:
    folder = graphs.exported(tmp_path / "lying", SHORT, graphs.embedder())
    with pytest.raises(ContractError, match=r"embedding FP32 \[batch,2048\]; expected embedding FP32 \[batch,512\]"):
        repository.publish(folder, models)


def test_versions_for_gpus_have_folders_of_their_own_by_precision(folder: Path, tmp_path: Path, models: Path) -> None:
    repository.publish(folder, models)
    homes = []
    for seed, (precision, contract) in enumerate([("fp16", EMBEDDER), ("int8", EMBEDDER), ("fp16", SHORT)]):
        model = graphs.embedder(seed, contract)
        exported = graphs.exported(tmp_path / str(seed), contract, model, precision=precision, gpu=graphs.L4)
        published = repository.publish(exported, models)
        assert published.manifest.version == seed + 2
        homes.append(published.folder.parent)
        config = text_format.Parse((homes[-1] / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
        assert (config.name, accelerator.parameters["precision_mode"]) == (homes[-1].name, precision.upper())
    assert [home.name for home in homes] == ["embedder_gpu_fp16", "embedder_gpu_int8", "embedder_512_gpu_fp16"]
    assert "openvino" in (models / "embedder" / "config.pbtxt").read_text()
    assert list(repository.published_versions(models, "embedder")) == [1, 2, 3, 4]


def test_the_same_graph_for_a_gpu_is_another_version(folder: Path, tmp_path: Path, models: Path) -> None:
    repository.publish(folder, models)
    exported = graphs.exported(tmp_path / "gpu", EMBEDDER, graphs.embedder(), gpu=graphs.L4)
    assert repository.publish(exported, models).folder == models / "embedder_gpu_fp32" / "2"
    assert not repository.publish(exported, models).is_new


@pytest.fixture
def integers(tmp_path: Path) -> Path:
    """An embedder that says of itself that it computes in int8."""
    model = graphs.embedder()
    int8_weights.store(model)
    folder = graphs.exported(tmp_path / "int8", EMBEDDER, model)
    described = manifest.read(folder)
    described.precision = "int8"
    manifest.write(described, folder)
    return folder


def test_integers_that_a_graph_computes_with_stay_integers(integers: Path, models: Path) -> None:
    published = repository.publish(integers, models)
    assert (published.folder / "model.onnx").read_bytes() == (integers / "model.onnx").read_bytes()


def test_the_newest_version_has_the_accelerator_that_is_fast_with_it(
    folder: Path, integers: Path, models: Path
) -> None:
    config = models / "embedder" / "config.pbtxt"
    repository.publish(folder, models)
    assert "openvino" in config.read_text()
    repository.publish(integers, models)
    assert "openvino" not in config.read_text()


def test_int8_weights_are_published_as_the_fp32_numbers_they_stand_for(tmp_path: Path, models: Path) -> None:
    model = graphs.embedder()
    int8_weights.store(model)
    folder = graphs.exported(tmp_path / "int8", EMBEDDER, model)
    published = repository.publish(folder, models)
    expanded = onnx.load(published.folder / "model.onnx")
    assert {node.op_type for node in expanded.graph.node}.isdisjoint({"DequantizeLinear"})
    crop = np.random.default_rng(3).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    for each in (model, expanded):
        each.opset_import[0].version = 19  # the first whose DequantizeLinear the reference implementation has
    np.testing.assert_array_equal(graphs.evaluate(model, crop=crop), graphs.evaluate(expanded, crop=crop))
    described = manifest.verify(published.folder)
    assert described.exported_file == manifest.file_entry(folder / "model.onnx")
    assert not repository.publish(folder, models).is_new


def test_what_a_killed_publisher_leaves_is_no_version_and_is_cleared(folder: Path, models: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from semblance.export import repository\n"
        "repository._flush = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "repository.publish(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    killed = subprocess.run([sys.executable, "-c", program, folder, models], check=False)
    assert killed.returncode == -signal.SIGKILL
    home = models / "embedder"
    left = [path.name for path in home.iterdir() if path.is_dir()]
    assert len(left) == 1
    assert left[0].startswith(".publishing-")
    assert repository.versions(home) == []
    assert repository.publish(folder, models).manifest.version == 1
    assert [path.name for path in home.iterdir() if path.is_dir()] == ["1"]


def test_golden_pictures_are_published_beside_the_model(tmp_path: Path, models: Path) -> None:
    folder = graphs.exported(tmp_path / "golden", EMBEDDER, graphs.embedder(), golden=True)
    published = repository.publish(folder, models).folder
    assert manifest.verify(published).golden_file == manifest.file_entry(folder / "golden.npz")
    assert (published / "golden.npz").read_bytes() == (folder / "golden.npz").read_bytes()


def test_golden_pictures_that_were_changed_are_refused(tmp_path: Path, models: Path) -> None:
    folder = graphs.exported(tmp_path / "golden", EMBEDDER, graphs.embedder(), golden=True)
    (folder / "golden.npz").write_bytes(b"something else")
    with pytest.raises(DigestMismatch, match=r"golden\.npz has 14 bytes"):
        repository.publish(folder, models)
    assert not (models / "embedder").exists()


def _publish(folder: Path, models: Path) -> int:
    return repository.publish(folder, models).manifest.version


def test_publishers_at_the_same_time_take_turns(tmp_path: Path, models: Path) -> None:
    """Of one number over both lengths."""
    contracts = [EMBEDDER, SHORT, EMBEDDER, SHORT]
    folders = [
        graphs.exported(tmp_path / str(seed), contract, graphs.embedder(seed, contract))
        for seed, contract in enumerate(contracts)
    ]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        numbers = pool.starmap(_publish, [(folder, models) for folder in folders])
    assert sorted(numbers) == [1, 2, 3, 4]
    standing = repository.published_versions(models, "embedder")
    assert len({published.parent for published in standing.values()}) == 2
    for number, folder in zip(numbers, folders, strict=True):
        published = standing[number]
        assert manifest.verify(published).model_file == manifest.read(folder).model_file


def test_a_published_file_is_read_only(folder: Path, models: Path) -> None:
    published = repository.publish(folder, models).folder
    assert {path.stat().st_mode & 0o222 for path in published.iterdir()} == {0}
    assert os.access(published, os.R_OK | os.X_OK)
