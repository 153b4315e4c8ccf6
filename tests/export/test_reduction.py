"""Reduced precision and projections, on the demo's own models and on a network with one sensitive layer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from semblance.export import blocks, gallery, graph, int8, manifest, package, projection, reduction, session
from semblance.export.command import export
from semblance.export.contract import EMBEDDER, IR_VERSION, OPSET, PROJECTED_SIZE, embedder_of
from semblance.export.errors import ContractError, ExportError, GateFailed
from semblance.export.recall import Retrieval
from semblance.v1.manifest_pb2 import Manifest

DEMO = Path(__file__).resolve().parents[2] / "demo" / "weights"
SIZE = 32


def ignore(what: str, done: int, total: int) -> None:
    """Shows no progress."""


def embedder(outlier: float = 1.0, seed: int = 0) -> package.Package:
    """A small network of three blocks. The second multiplies one channel of eight by `outlier`, and the third divides
    it again: with a large one, eight bits for the tensor between the two leave nothing for the other channels."""
    random = np.random.default_rng(seed)
    scale = np.ones(8, np.float32)
    scale[0] = outlier
    weights = {
        "first": random.normal(size=(8, 3, 4, 4)).astype(np.float32),
        "second": random.normal(size=(8, 8, 1, 1)).astype(np.float32) * scale[:, None, None, None],
        "third": random.normal(size=(SIZE, 8, 1, 1)).astype(np.float32) / scale[None, :, None, None],
        "least": np.array(1e-12, np.float32),
        "grey": np.array(128, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["crop"], ["numbers"], to=TensorProto.FLOAT, name="/Cast"),
        node("Sub", ["numbers", "grey"], ["pixels"], name="/Sub"),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2], name="/Transpose"),
        node("Conv", ["planes", "first"], ["a"], strides=[8, 8], name="/trunk/conv1/Conv"),
        node("Relu", ["a"], ["b"], name="/trunk/relu/Relu"),
        node("Conv", ["b", "second"], ["c"], name="/trunk/layer1/layer1.0/Conv"),
        node("Relu", ["c"], ["d"], name="/trunk/layer1/layer1.0/Relu"),
        node("Conv", ["d", "third"], ["d3"], name="/trunk/layer2/layer2.0/Conv"),
        node("Relu", ["d3"], ["d4"], name="/trunk/layer2/layer2.0/Relu"),
        node("GlobalAveragePool", ["d4"], ["e"], name="/trunk/avgpool/GlobalAveragePool"),
        node("Flatten", ["e"], ["f"], name="/trunk/Flatten"),
        node("ReduceL2", ["f"], ["g"], axes=[1], name="/ReduceL2"),
        node("Max", ["g", "least"], ["h"], name="/Max"),
        node("Div", ["f", "h"], ["embedding"], name="/Div"),
    ]
    contract = embedder_of(SIZE)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "embedder",
            [helper.make_tensor_value_info("crop", TensorProto.UINT8, ["batch", *contract.input.dims])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", SIZE])],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    graph.check(model, contract)
    described = Manifest(
        model="embedder",
        input=manifest.tensor_entry(contract.input),
        output=manifest.tensor_entry(contract.output),
        max_batch_size=4,
        pad_value=114,
        precision="fp32",
    )
    return package.Package(model, described)


@pytest.fixture(scope="module")
def pictures() -> gallery.Gallery:
    return gallery.drawn(80, 224)


def vectors(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return session.answers(model, pixels, 4, ignore, "")


def test_a_network_that_bears_it_computes_in_integers_whole(pictures: gallery.Gallery) -> None:
    source = embedder()
    reduced = reduction.reduce(source, "int8", pictures, ignore)
    graph.check(reduced.model, embedder_of(SIZE))
    kinds = [node.op_type for node in reduced.model.graph.node]
    assert kinds.count("QuantizeLinear") >= 3
    assert {t.data_type for t in reduced.model.graph.initializer if t.name.startswith("second")} >= {TensorProto.INT8}
    assert (reduced.manifest.precision, list(reduced.manifest.fp32_blocks)) == ("int8", [])
    assert reduced.manifest.calibration.images == 80
    figures, bounds = reduced.manifest.parity.figures, reduced.manifest.parity.bounds
    assert figures["int8_min_cosine"] >= bounds["int8_min_cosine"]
    cosines = (vectors(reduced.model, pictures.pixels) * vectors(source.model, pictures.pixels)).sum(axis=1)
    assert figures["int8_min_cosine"] <= cosines.min() + 1e-6
    assert source.manifest.precision == "fp32"


def test_the_sensitive_blocks_are_found_and_stay_in_fp32(pictures: gallery.Gallery) -> None:
    source = embedder(outlier=3000.0)
    reduced = reduction.reduce(source, "int8", pictures, ignore)
    assert list(reduced.manifest.fp32_blocks) == ["layer1.0", "layer2.0"]
    integers = {t.name for t in reduced.model.graph.initializer if t.data_type == TensorProto.INT8 and t.dims}
    assert any(name.startswith("first") for name in integers)
    assert reduced.manifest.parity.figures["int8_min_cosine"] >= 0.97


def test_fp16_is_judged_and_recorded(pictures: gallery.Gallery) -> None:
    reduced = reduction.reduce(embedder(), "fp16", pictures, ignore)
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in reduced.model.graph.initializer}
    assert reduced.manifest.precision == "fp16"
    assert reduced.manifest.parity.figures["fp16_min_cosine"] >= 0.999


def test_a_graph_that_fp16_overflows_is_refused(pictures: gallery.Gallery) -> None:
    with pytest.raises(GateFailed, match=r"fp16_min_cosine is .* worst on"):
        reduction.reduce(embedder(outlier=1e5), "fp16", pictures, ignore)


@pytest.mark.parametrize("whiten", [False, True])
def test_a_projection_reports_recall_before_and_after(pictures: gallery.Gallery, whiten: bool) -> None:
    reduced = reduction.project(embedder(), 16, whiten, pictures, ignore)
    graph.check(reduced.model, embedder_of(16))
    assert list(reduced.manifest.output.dims) == [16]
    assert reduced.manifest.projection.from_dims == SIZE
    assert reduced.manifest.projection.calibration.images == 80
    assert not reduced.manifest.HasField("calibration")
    assert 0 < reduced.manifest.projection.explained_variance <= 1
    figures = reduced.manifest.parity.figures
    assert figures["projected_recall_at_1_before"] - figures["projected_recall_at_1"] == pytest.approx(
        figures["projected_recall_at_1_loss"]
    )
    found = vectors(reduced.model, pictures.pixels[:3])
    assert found.shape == (3, 16)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)


def lying_off_the_origin(count: int, seed: int) -> NDArray[np.float32]:
    """Vectors of length 1 about one direction; most of what differs is in 8 dimensions, and some vectors have more of
    the rest than others."""
    random = np.random.default_rng(seed)
    rest = 0.2 * random.normal(size=(count, SIZE)) * random.uniform(0, 2, size=(count, 1))
    some = np.concatenate([np.full((count, 1), 5.0), random.normal(size=(count, 8)), rest[:, 9:]], axis=1)
    return np.asarray(some / np.linalg.norm(some, axis=1, keepdims=True), np.float32)


def test_a_projection_keeps_cosines() -> None:
    learnt, seen = lying_off_the_origin(400, 0), lying_off_the_origin(100, 1)
    fitted = projection.fit(learnt, 18, whiten=False)
    assert 0.9 < fitted.explained_variance < 0.95

    def error(projected: NDArray[np.float32]) -> float:
        return float(np.square(projected @ projected.T - seen @ seen.T).mean() ** 0.5)

    short = fitted.apply(seen)
    assert np.linalg.norm(short, axis=1) == pytest.approx(1)
    assert error(short) < 0.6 * error(replace(fitted, kept=0).apply(seen))
    assert error(short) < 0.1 * error(projection.fit(learnt, 18, whiten=True).apply(seen))


def test_a_vector_of_zeros_stays_one() -> None:
    fitted = projection.fit(lying_off_the_origin(400, 0), 16, whiten=False)
    assert not fitted.apply(np.zeros((1, SIZE), np.float32)).any()


def test_recall_is_asked_of_some_hundreds_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.export.recall.MOST_JUDGING", 3)
    few = gallery.drawn(20, 32)
    retrieval = Retrieval.of(few, 114)
    assert retrieval.originals.tolist() == [1] * 4 + [9] * 4 + [19] * 4
    assert len(retrieval.names) == len(retrieval.pixels) == 32
    perfect = np.eye(20, dtype=np.float32)
    assert retrieval.recall_at_1(np.concatenate([perfect, perfect[retrieval.originals]])) == 1
    assert retrieval.recall_at_1(np.concatenate([perfect, perfect[retrieval.originals - 1]])) == 0


def test_a_projection_that_loses_what_tells_pictures_apart_is_refused(pictures: gallery.Gallery) -> None:
    with pytest.raises(GateFailed, match=r"projected_recall_at_1_loss is .*, at most 0.02 allowed"):
        reduction.project(embedder(), 1, False, pictures, ignore)


def test_too_few_pictures_for_the_components_are_refused(pictures: gallery.Gallery) -> None:
    few = gallery.Gallery(pictures.names[:20], pictures.pixels[:20])
    with pytest.raises(ExportError, match="more than 16 pictures, and half of the calibration folder is 10"):
        reduction.project(embedder(), 16, False, few, ignore)


def test_ranges_are_not_those_of_one_odd_picture(tmp_path: Path, pictures: gallery.Gallery) -> None:
    faint = pictures.pixels[:44] // 32 + np.uint8(124)
    odd = np.concatenate([faint, pictures.pixels[44:45]])
    source = embedder()
    nodes = [node for names in blocks.blocks_of(source.model, EMBEDDER).values() for node in names]
    quantised = int8.Quantiser(source.model, odd, tmp_path).quantise(nodes)
    cosines = (vectors(source.model, faint) * vectors(quantised, faint)).sum(axis=1)
    assert cosines.min() > 0.999


def save(pixels: NDArray[np.uint8], folder: Path) -> Path:
    folder.mkdir()
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    return folder


def test_the_command_reduces_an_exported_folder_twice(tmp_path: Path, pictures: gallery.Gallery) -> None:
    """Projected and in integers, published beside a configuration of the new length; what is reduced is no source."""
    source = tmp_path / "fp32"
    embedder().write(source)
    folder = save(pictures.pixels, tmp_path / "pictures")
    options = ["--precision", "int8", "--project", "16", "--calibrate", folder, "--repository", tmp_path / "models"]
    result = CliRunner().invoke(export, ["reduced", str(source), *map(str, options)])
    assert result.exit_code == 0, result.output
    published = manifest.verify(tmp_path / "models" / "embedder" / "1")
    assert list(published.output.dims) == [16]
    assert published.precision == "int8"
    assert {"projected_recall_at_1_before", "projected_recall_at_1", "int8_recall_at_1"} <= set(
        published.parity.figures
    )
    assert published.output.dims[0] == 16
    with np.load(tmp_path / "models" / "embedder" / "1" / "golden.npz", allow_pickle=False) as golden:
        model = onnx.load(tmp_path / "models" / "embedder" / "1" / "model.onnx")
        np.testing.assert_allclose(vectors(model, golden["inputs"]), golden["outputs"], atol=1e-5)
    assert published.calibration.images == published.projection.calibration.images == 80
    assert "dims: 16" in (tmp_path / "models" / "embedder" / "config.pbtxt").read_text()
    with pytest.raises(ContractError, match="embedder of 16 numbers at precision int8; only what was exported in fp32"):
        package.read(tmp_path / "models" / "embedder" / "1")


def test_a_projection_of_no_given_size_has_the_default_one(tmp_path: Path, pictures: gallery.Gallery) -> None:
    source = tmp_path / "fp32"
    embedder().write(source)
    folder = save(pictures.pixels[:20], tmp_path / "pictures")
    result = CliRunner().invoke(export, ["reduced", str(source), "--project", "--calibrate", str(folder)])
    assert result.exit_code == 1
    assert f"gives {SIZE} numbers; --project needs fewer than that, not {PROJECTED_SIZE}" in " ".join(
        result.output.split()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8"], "give a folder of some hundreds with --calibrate"),
        (["--project", "16"], "give a folder of some hundreds with --calibrate"),
        (["--whiten", "--precision", "int8"], "--whiten is about the components of a projection"),
        ([], "nothing to reduce"),
    ],
)
def test_what_an_option_needs_is_said(tmp_path: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(export, ["reduced", str(DEMO / "embedder"), *options])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_detector_keeps_finding_what_it_found(tmp_path: Path, scenes: Path) -> None:
    """The demo's detector on the demo's scenes, from the shipped file to integers."""
    options = ["--precision", "int8", "--calibrate", str(scenes), "--output", str(tmp_path / "int8")]
    result = CliRunner().invoke(export, ["reduced", str(DEMO / "detector"), *options])
    assert result.exit_code == 0, result.output
    reduced = manifest.verify(tmp_path / "int8")
    assert reduced.parity.figures["int8_map50_loss"] <= 0.02
    assert reduced.parity.figures["int8_mean_iou"] >= 0.95
    assert json.loads((tmp_path / "int8" / "manifest.json").read_text())["class_names"] == ["card", "badge", "figurine"]
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8" / "model.onnx").graph.node}
    assert {"QuantizeLinear", "NonMaxSuppression"} <= kinds
    with np.load(tmp_path / "int8" / "golden.npz", allow_pickle=False) as golden:
        assert golden["inputs"].shape == (2, 640, 640, 3)
        assert golden["outputs"][:, 0, 4].min() > 0.5


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from demo import generate

    world = tmp_path_factory.mktemp("world")
    generate.main(["--out", str(world), "--items", "12", "--scenes", "20"], standalone_mode=False)
    return world / "scenes"
