"""`--target gpu`, up to what a GPU would compute: the graphs are judged on ONNX Runtime's CPU provider."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, numpy_helper
from PIL import Image

from semblance.export import gallery, manifest, reduction
from semblance.export.command import export
from semblance.export.gpu import TENSORRT
from semblance.v1.manifest_pb2 import Manifest
from tests.export.test_reduction import DEMO, embedder, ignore, vectors

L4 = Manifest.Gpu(name="NVIDIA L4", tensorrt=TENSORRT)
ON_L4 = ("--target", "gpu", "--gpu", "NVIDIA L4")


def run(*arguments: object) -> str:
    result = CliRunner().invoke(export, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def pictures() -> gallery.Gallery:
    return gallery.drawn(80, 224)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from demo import generate

    world = tmp_path_factory.mktemp("world")
    generate.main(["--out", str(world), "--items", "12", "--scenes", "20"], standalone_mode=False)
    return world / "scenes"


def test_a_detector_for_a_gpu_passes_the_gate_against_pytorch(tmp_path: Path) -> None:
    weights = ("--weights", "yolov8n.yaml", "--random-seed", 7, "--max-batch-size", 2)
    run("detector", *weights, *ON_L4, "--repository", tmp_path)
    published = manifest.verify(tmp_path / "detector_gpu_fp32" / "1")
    assert published.gpu == L4
    assert published.parity.figures["min_iou"] >= published.parity.bounds["min_iou"] == 0.99
    graph = onnx.load(tmp_path / "detector_gpu_fp32" / "1" / "model.onnx").graph
    assert [node.op_type for node in graph.node if "image" in node.input] == ["Cast"]
    assert "nms/class_offset" not in {tensor.name for tensor in graph.initializer}
    config = (tmp_path / "detector_gpu_fp32" / "config.pbtxt").read_text()
    assert 'value: "image:2x640x640x3"' in config


def test_the_demos_detector_becomes_one_for_a_gpu_in_fp16(tmp_path: Path, scenes: Path) -> None:
    run("reduced", DEMO / "detector", *ON_L4, "--precision", "fp16", "--calibrate", scenes, "--output", tmp_path / "16")
    reduced = manifest.verify(tmp_path / "16")
    assert (reduced.gpu, reduced.precision) == (L4, "fp16")
    figures, bounds = reduced.parity.figures, reduced.parity.bounds
    for change in ("tensorrt", "fp16"):
        assert figures[f"{change}_mean_iou"] >= bounds[f"{change}_mean_iou"]
        assert figures[f"{change}_map50_loss"] <= bounds[f"{change}_map50_loss"]
    graph = onnx.load(tmp_path / "16" / "model.onnx").graph
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in graph.initializer}
    with np.load(tmp_path / "16" / "golden.npz", allow_pickle=False) as golden:
        assert golden["outputs"][:, 0, 4].min() > 0.5


def test_integers_for_tensorrt_are_signed_about_zero(pictures: gallery.Gallery) -> None:
    """And weights are numbers that the graph rounds, biases numbers: what TensorRT takes for quantised."""
    source = reduction.adapt(embedder(), L4, pictures, ignore)
    reduced = reduction.reduce(source, "int8", pictures, ignore)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in reduced.model.graph.initializer}
    rounding = [node for node in reduced.model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert sum(node.op_type == "QuantizeLinear" for node in rounding) >= 6
    for node in rounding:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert node.op_type == "QuantizeLinear" or node.input[0] not in constants
    assert {array.dtype for array in constants.values()} <= {np.dtype(kind) for kind in ("int8", "int64", "float32")}
    assert reduced.manifest.gpu == L4
    assert reduced.manifest.parity.figures["int8_min_cosine"] >= 0.97
    cosines = (vectors(reduced.model, pictures.pixels) * vectors(source.model, pictures.pixels)).sum(axis=1)
    assert reduced.manifest.parity.figures["int8_min_cosine"] <= cosines.min() + 1e-6


def test_an_engine_is_built_of_what_was_reduced(
    tmp_path: Path, pictures: gallery.Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By programs that stand for nvidia-smi and trtexec."""
    programs = tmp_path / "bin"
    programs.mkdir()
    log = r"[I] Selected Device: NVIDIA L4\n[I] TensorRT version: 10.4.0\n"
    for name, lines in {
        "nvidia-smi": "echo 'NVIDIA L4'",
        "trtexec": f"for a; do case $a in --saveEngine=*) echo plan > ${{a#*=}};; esac; done; printf '{log}'",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{lines}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    embedder().write(tmp_path / "fp32")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(pictures.pixels):
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    options = ("--precision", "fp16", "--calibrate", folder, "--repository", tmp_path / "models")
    run("reduced", tmp_path / "fp32", "--target", "gpu", "--engine", *options)
    published = manifest.verify(tmp_path / "models" / "embedder_engine" / "1")
    assert (published.model_file.name, published.gpu.name, published.precision) == ("model.plan", "NVIDIA L4", "fp16")
    assert published.gpu.HasField("onnx_file")
    assert published.HasField("golden_file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gpu", "NVIDIA L4"), "--gpu is about --target gpu; give that too"),
        (("--engine",), "--engine is about --target gpu; give that too"),
        ((*ON_L4, "--engine"), "--engine builds for the GPU of this host"),
        (ON_L4, "--target gpu needs pictures of what the model will see"),
    ],
)
def test_what_an_option_needs_is_said(options: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(export, ["reduced", str(DEMO / "embedder"), *options])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_graph_for_gpus_is_no_source_for_cpus(tmp_path: Path, pictures: gallery.Gallery) -> None:
    reduction.adapt(embedder(), L4, pictures, ignore).write(tmp_path / "gpu")
    result = CliRunner().invoke(export, ["reduced", str(tmp_path / "gpu"), "--precision", "int8"])
    assert result.exit_code == 1
    assert "holds a graph for GPUs; give the folder of the graph that it was made from" in result.output
