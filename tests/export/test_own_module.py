"""`semblance export embedder --module`: a network of the user's own, through the gate into the repository."""

import importlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from semblance.export import gallery, manifest, session
from semblance.export.command import export
from semblance.export.contract import embedder_of

HEADER = """
import torch
from torch import nn

class Seeded(nn.Sequential):
    def __init__(self, *layers, seed=3):
        super().__init__(*layers)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)

class Pooled(nn.Module):
    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)
"""

TINY = """
def tiny():
    layers = nn.Conv2d(3, 16, 7, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 40, 5, 4), nn.ReLU()
    return Seeded(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.9)).half().train()
"""

numbers = itertools.count()

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module into the current directory, and gives its name. No two tests share one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text: str) -> str:
        name = f"own_{next(numbers)}"
        Path(f"{name}.py").write_text(HEADER + text)
        importlib.invalidate_caches()
        return name

    return write


def run(*arguments: object, batch: int = 3) -> Result:
    words = ["embedder", "--max-batch-size", batch, *arguments]
    return CliRunner().invoke(export, [str(word) for word in words])


def refusal(*arguments: object) -> str:
    """What the command says, on one line; it is no traceback."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    return " ".join(result.output.split())


def test_vectors_of_another_length_are_published_beside_those_of_resnet(write: Write, tmp_path: Path) -> None:
    """In half precision, in training mode and with dropout, as a factory may leave its network."""
    models = tmp_path / "models"
    assert run("--random-seed", 7, "--repository", models).exit_code == 0
    name = write(TINY)
    done = run("--module", f"{name}:tiny", "--repository", models)
    assert done.exit_code == 0, done.output
    published = manifest.verify(models / "embedder_40" / "2")
    assert published.output == manifest.tensor_entry(embedder_of(40).output)
    assert published.source.weights == f"{name}:tiny"
    assert published.parity.batch_sizes == [1, 2, 3]
    assert published.parity.figures["min_cosine"] >= published.parity.bounds["min_cosine"] == 0.9999
    assert (models / "embedder" / "1" / "model.onnx").exists()
    graph = onnx.load(models / "embedder_40" / "2" / "model.onnx")
    vectors = session.answers(graph, gallery.drawn(2, 224).pixels, 2, lambda *_: None, "")
    assert vectors.shape == (2, 40)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)


def test_the_source_is_named_by_its_weights(write: Write, tmp_path: Path) -> None:
    name = write(TINY + TINY.replace("tiny()", "other()").replace("Dropout(0.9)", "Dropout(0.9), seed=4"))
    digests = []
    for number, factory in enumerate(("tiny", "tiny", "other")):
        folder = tmp_path / str(number)
        assert run("--module", f"{name}:{factory}", "--output", folder).exit_code == 0
        digests.append(manifest.verify(folder).source.sha256)
    assert digests[0] == digests[1] != digests[2]


def test_attention_is_exported(write: Write, tmp_path: Path) -> None:
    name = write(
        """
class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = Seeded(nn.Conv2d(3, 32, 32, 32))
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def forward(self, x):
        return self.encoder(self.patches(x).flatten(2).transpose(1, 2)).flatten(1)

def factory():
    torch.manual_seed(5)
    return Transformer()
"""
    )
    done = run("--module", f"{name}:factory", "--output", tmp_path / "exported")
    assert done.exit_code == 0, done.output
    assert list(manifest.verify(tmp_path / "exported").output.dims) == [49 * 32]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("import no_such_package", "No module named 'no_such_package'", id="imports what is missing"),
        pytest.param("raise SystemExit(0)", "can't be imported: SystemExit", id="exits"),
        pytest.param("", "has no 'factory'; expected a callable", id="no such attribute"),
        pytest.param("factory = 3", "is of type int; expected a callable", id="not callable"),
        pytest.param("def factory(path): ...", "failed: TypeError", id="takes arguments"),
        pytest.param("def factory(): raise OSError('no file')", "failed: OSError: no file", id="raises"),
        pytest.param("def factory(): return {}", "returned a dict; expected a callable", id="no module"),
    ],
)
def test_what_makes_no_network_is_refused(write: Write, tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal("--module", f"{write(text)}:factory", "--output", tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        pytest.param("own", "expected package.module:factory", id="no factory"),
        pytest.param(":factory", "expected package.module:factory", id="no module"),
        pytest.param("no_such_module:factory", "No module named 'no_such_module'", id="no such module"),
        pytest.param("..own:factory", "can't be imported", id="relative"),
    ],
)
@pytest.mark.usefixtures("write")
def test_a_path_that_names_nothing_is_refused(tmp_path: Path, path: str, said: str) -> None:
    assert said in refusal("--module", path, "--output", tmp_path / "exported")


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        pytest.param("x", "float32 [1, 3, 224, 224] for one picture; expected FP32 [B,dim]", id="another rank"),
        pytest.param("x.mean((2, 3)).squeeze()", "float32 [3] for one picture", id="no batch"),
        pytest.param("x.mean((2, 3)).double()", "float64 [1, 3] for one picture", id="another type"),
        pytest.param("x[:, :0, 0, 0]", "float32 [1, 0] for one picture", id="no numbers"),
        pytest.param("(x,)", "gives a tuple for one picture", id="no tensor"),
        pytest.param("x.mean((2, 3)) / 0", "numbers that are not finite", id="not finite"),
        pytest.param("x.mean((2, 3)) * 0", "a vector of zeros", id="zeros"),
        pytest.param("x @ x.flatten()", "fails on a picture: RuntimeError", id="fails"),
        pytest.param("x.reshape(len(x), 3, -1)[..., :9].sum(1)", "rows for a batch of 1", id="a batch baked in"),
        pytest.param(
            "x[:, 0, :9, 0].reshape(int(x.shape[0]), 9)", "the graph fails in a batch of 1", id="its size too"
        ),
        pytest.param("torch.special.i0(x.mean((2, 3)))", "'aten::i0' to ONNX opset version 17", id="no such operation"),
        pytest.param("nn.functional.dropout(Pooled()(x), training=True)", "drawn picture 0", id="random"),
        pytest.param("Pooled()(x) + 1e4", "can't tell them apart", id="the same for all"),
    ],
)
def test_a_network_that_can_not_serve_is_refused(write: Write, tmp_path: Path, forward: str, said: str) -> None:
    name = write(f"class Own(nn.Module):\n    def forward(self, x):\n        return {forward}\n")
    assert said in refusal("--module", f"{name}:Own", "--output", tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize("other", [("--random-seed", 1), ("--weights", "here.pt"), ("--int8-weights",)])
@pytest.mark.usefixtures("write")
def test_a_module_excludes_what_is_for_resnet(other: tuple[object, ...]) -> None:
    Path("here.pt").write_bytes(b"")
    result = run("--module", "own:factory", *other)
    assert result.exit_code == 2
    assert "--module" in result.output


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(gallery.drawn(60, 224, seed=2).pixels):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


@pytest.mark.parametrize(
    ("reduction", "dims"), [(("--precision", "int8"), 40), (("--precision", "fp16"), 40), (("--project", 24), 24)]
)
def test_its_graph_is_reduced_like_any_other(
    write: Write, tmp_path: Path, photos: Path, reduction: tuple[object, ...], dims: int
) -> None:
    name = write(
        TINY
        + """
class Wrapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = tiny()

    def forward(self, x):
        return self.network(x)
"""
    )
    folder = tmp_path / "exported"
    done = run("--module", f"{name}:Wrapper", *reduction, "--calibrate", photos, "--output", folder)
    assert done.exit_code == 0, done.output
    described = manifest.verify(folder)
    assert list(described.output.dims) == [dims]
    kinds = {tensor.data_type for tensor in onnx.load(folder / "model.onnx").graph.initializer}
    expected = {"int8": onnx.TensorProto.INT8, "fp16": onnx.TensorProto.FLOAT16, "fp32": onnx.TensorProto.FLOAT}
    assert expected[described.precision] in kinds
    assert described.precision == (reduction[1] if reduction[0] == "--precision" else "fp32")


def test_int8_of_a_network_of_matrix_products_is_refused(write: Write, tmp_path: Path, photos: Path) -> None:
    name = write("def factory():\n    return Seeded(Pooled(), nn.Linear(48, 40))\n")
    said = refusal(
        "--module", f"{name}:factory", "--precision", "int8", "--calibrate", photos, "--output", tmp_path / "exported"
    )
    assert "convolutions" in said
    assert "--project works" in said


def test_fp16_that_crashes_onnx_runtime_is_refused(write: Write, tmp_path: Path, photos: Path) -> None:
    """Once ONNX Runtime bears this network, `fp16.check_loads` has nothing left to catch."""
    name = write(
        """
from torchvision.models import VisionTransformer

def factory():
    torch.manual_seed(0)
    network = VisionTransformer(224, 32, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
    network.heads = nn.Identity()
    return network
"""
    )
    said = refusal(
        "--module", f"{name}:factory", "--precision", "fp16", "--calibrate", photos, "--output", tmp_path / "exported"
    )
    assert "can't load this network in fp16" in said
    assert not (tmp_path / "exported").exists()
