"""Tiny models, made here: what is tested is how they are served."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from semblance.export import contract, manifest
from semblance.export.repository import publish
from semblance.serving import triton
from semblance.v1.manifest_pb2 import Manifest

Dims = Sequence[int | str]


def save(path: Path, graph: onnx.GraphProto, *domains: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 3) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def scaling(factor: float, *, out: Dims = ("B", 4), symbol: Dims = ("B", 4)) -> onnx.GraphProto:
    """y = factor * x, with `symbol` the shape of x and `out` the shape that the graph declares for y."""
    return helper.make_graph(
        # Relu and Abs change nothing: OpenVINO leaves graphs of less than three operators to ONNX Runtime.
        [
            helper.make_node("Cast", ["x"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Relu", ["real"], ["positive"]),
            helper.make_node("Abs", ["positive"], ["absolute"]),
            helper.make_node("Mul", ["absolute", "f"], ["y"]),
        ],
        "scaling",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, symbol)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [helper.make_tensor("f", TensorProto.FLOAT, [], [factor])],
    )


def picking() -> onnx.GraphProto:
    """y = [10, 20, 30][x]; an index beyond fails when the graph runs."""
    return helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "picking",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["B", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 1])],
        [helper.make_tensor("table", TensorProto.FLOAT, [3], [10.0, 20.0, 30.0])],
    )


def counting() -> onnx.GraphProto:
    """y = the number of rows that were run together, in every row."""
    return helper.make_graph(
        [
            helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
            helper.make_node("Cast", ["rows"], ["count"], to=TensorProto.FLOAT),
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Expand", ["count", "shape"], ["y"]),
        ],
        "counting",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["B", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 4])],
    )


def foreign() -> onnx.GraphProto:
    """An operator of classical machine learning, which OpenVINO does not have, four times over."""
    names = ["x", "a", "b", "c", "y"]
    return helper.make_graph(
        [
            helper.make_node("Scaler", [source], [target], domain="ai.onnx.ml", offset=[1.0], scale=[2.0])
            for source, target in pairwise(names)
        ],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 4])],
    )


def lengthy(length: float) -> onnx.GraphProto:
    """An `embedding` of 2 numbers with the same length for every input."""
    return helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["real", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "vector"], ["embedding"]),
        ],
        "lengthy",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["B", 2])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", 2])],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("vector", TensorProto.FLOAT, [2], [0.6 * length, 0.8 * length]),
        ],
    )


def config(
    extra: str = "",
    *,
    x: str = "TYPE_UINT8",
    dims: str = "[4]",
    y: str = "[4]",
    output: str = "y",
    batch: int = 8,
    group: str = "count: 1 kind: KIND_CPU",
) -> str:
    return f"""
        backend: "onnxruntime" max_batch_size: {batch}
        input {{ name: "x" data_type: {x} dims: {dims} }}
        output {{ name: "{output}" data_type: TYPE_FP32 dims: {y} }}
        instance_group {{ {group} }}
        {extra}
    """


@pytest.fixture(scope="session")
def graphs() -> SimpleNamespace:
    """The graphs above, and `config` for one of them."""
    return SimpleNamespace(
        scaling=scaling, picking=picking, counting=counting, foreign=foreign, lengthy=lengthy, config=config
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.Triton]:
    """A Triton without models, over a repository in a folder whose name a shell would split."""
    folder = tmp_path_factory.mktemp("a shell's & nightmare")
    (folder / "models").mkdir()
    with triton.running(folder / "models", folder / "run") as running:
        yield running


@pytest.fixture
def add(server: triton.Triton) -> Callable[..., str]:
    """`add(config, graph, ...)` puts a model into the repository, the graphs being versions 1, 2, …, and names it."""
    repository = server.log.parents[1] / "models"

    def put(settings: str, *graphs: onnx.GraphProto, file: str = "model.onnx", domain: str = "") -> str:
        name = f"model{len(list(repository.iterdir()))}"
        for version, graph in enumerate(graphs, 1):
            save(repository / name / str(version) / file, graph, *([domain] if domain else []))
        (repository / name / "config.pbtxt").write_text(settings)
        return name

    return put


def blank_detector() -> onnx.GraphProto:
    """The detector's contract, and nothing ever detected."""
    return helper.make_graph(
        [
            helper.make_node("Shape", ["image"], ["batch"], start=0, end=1),
            helper.make_node("Concat", ["batch", "rest"], ["shape"], axis=0),
            helper.make_node("Expand", ["zero", "shape"], ["detections"]),
        ],
        "blank_detector",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", 640, 640, 3])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["B", 100, 6])],
        [
            helper.make_tensor("rest", TensorProto.INT64, [2], [100, 6]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ],
    )


def mean_embedder() -> onnx.GraphProto:
    """The embedder's contract: the mean colour, with some red so that black has a direction too, and zeros."""
    return helper.make_graph(
        [
            helper.make_node("Cast", ["crop"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Add", ["mean", "red"], ["colour"]),
            helper.make_node("Pad", ["colour", "padding"], ["vector"]),
            helper.make_node("LpNormalization", ["vector"], ["embedding"], axis=1, p=2),
        ],
        "mean_embedder",
        [helper.make_tensor_value_info("crop", TensorProto.UINT8, ["B", 224, 224, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", contract.EMBEDDING_SIZE])],
        [
            helper.make_tensor("red", TensorProto.FLOAT, [3], [1.0, 0.0, 0.0]),
            helper.make_tensor("padding", TensorProto.INT64, [4], [0, 0, 0, contract.EMBEDDING_SIZE - 3]),
        ],
    )


def publish_tiny(graph: onnx.GraphProto, model: str, folder: Path, repository: Path) -> None:
    file = folder / model / "model.onnx"
    save(file, graph)
    promised = contract.CONTRACTS[model]
    described = Manifest(
        model=model,
        model_file=manifest.file_entry(file),
        input=manifest.tensor_entry(promised.input),
        output=manifest.tensor_entry(promised.output),
        pad_value=promised.pad_value,
        max_batch_size=8,
        precision="fp32",
        opset=17,
        class_names=["thing"] if model == "detector" else [],
    )
    manifest.write(described, file.parent)
    publish(file.parent, repository)


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository whose models meet the contracts and cost nothing."""
    folder = tmp_path_factory.mktemp("exported")
    repository = tmp_path_factory.mktemp("model_repository")
    publish_tiny(blank_detector(), "detector", folder, repository)
    publish_tiny(mean_embedder(), "embedder", folder, repository)
    return repository
