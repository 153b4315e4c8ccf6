"""`semblance export engine`, up to the call of TensorRT's builder, in whose place a program notes its arguments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from semblance.export import engine, manifest
from semblance.export.contract import EMBEDDER
from semblance.v1.manifest_pb2 import Manifest
from tests.unit.export import graphs

SEMBLANCE = Path(sys.executable).with_name("semblance")
PLAN = b"an engine"
# What trtexec of TensorRT 10 says of the two.
LOG = "[11/27/2026-02:00:00] [I] Selected Device: NVIDIA L4\n[11/27/2026-02:00:00] [I] TensorRT version: 10.4.0\n"


class Builder:
    """A folder for PATH, with a `trtexec` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()

    def install(self, log: str = LOG, status: int = 0, plan: bytes | None = PLAN) -> None:
        program = (
            f"#!{sys.executable}\nimport json, pathlib, sys\n"
            f"pathlib.Path({str(self.folder / 'arguments')!r}).write_text(json.dumps(sys.argv[1:]))\n"
            "engine = dict(each.split('=', 1) for each in sys.argv[1:] if '=' in each)['--saveEngine']\n"
            f"if {plan!r} is not None: pathlib.Path(engine).write_bytes({plan!r})\n"
            f"print({log!r}, flush=True)\nsys.exit({status})\n"
        )
        (self.folder / "trtexec").write_text(program)
        (self.folder / "trtexec").chmod(0o755)

    @property
    def arguments(self) -> list[str] | None:
        """Of the last call, if there was one."""
        noted = self.folder / "arguments"
        return json.loads(noted.read_text()) if noted.exists() else None


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "bin")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """An embedder for a GPU, in fp16, with golden pictures."""
    return graphs.exported(
        tmp_path / "exported", EMBEDDER, graphs.embedder(), golden=True, precision="fp16", gpu=graphs.L4
    )


def run(builder: Builder, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(SEMBLANCE), "export", "engine", *map(str, arguments)]
    folder = builder.folder.parent
    environment = {"PATH": str(builder.folder), "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)


def test_the_builder_is_asked_for_the_types_of_the_graph_and_one_profile(
    builder: Builder, exported: Path, tmp_path: Path
) -> None:
    builder.install()
    done = run(builder, exported, "--output", tmp_path / "built")
    assert done.returncode == 0, done.stderr
    assert builder.arguments == [
        f"--onnx={exported / 'model.onnx'}",
        f"--saveEngine={tmp_path / 'built' / 'model.plan'}",
        "--stronglyTyped",
        "--minShapes=crop:1x224x224x3",
        "--optShapes=crop:4x224x224x3",
        "--maxShapes=crop:4x224x224x3",
        "--memPoolSize=workspace:2048M",
        "--skipInference",
    ]
    assert sorted(path.name for path in (tmp_path / "built").iterdir()) == ["golden.npz", "manifest.json", "model.plan"]
    built, source = manifest.verify(tmp_path / "built"), manifest.read(exported)
    assert built.model_file == manifest.file_entry(tmp_path / "built" / "model.plan")
    assert built.gpu == Manifest.Gpu(name="NVIDIA L4", tensorrt="10.4.0", onnx_file=source.model_file)
    assert (built.golden_file, built.precision, built.parity) == (source.golden_file, "fp16", source.parity)


def test_an_engine_is_published_in_a_folder_of_its_own(builder: Builder, exported: Path, tmp_path: Path) -> None:
    builder.install()
    publish = [str(SEMBLANCE), "publish", str(exported)]
    subprocess.run(publish, cwd=tmp_path, check=True, capture_output=True)
    done = run(builder, tmp_path / "model_repository" / "embedder_gpu_fp16" / "1")
    assert done.returncode == 0, done.stderr
    assert "embedder: published as model_repository/embedder_engine/2" in done.stdout
    folder = tmp_path / "model_repository" / "embedder_engine" / "2"
    assert (folder / "model.plan").read_bytes() == PLAN
    assert not (folder / "model.onnx").exists()
    assert manifest.verify(folder).version == 2
    assert 'platform: "tensorrt_plan"' in (folder.parent / "config.pbtxt").read_text()


def test_without_a_builder_it_is_said_where_there_is_one(builder: Builder, exported: Path) -> None:
    refused = run(builder, exported)
    assert refused.returncode == 1
    assert "there is no trtexec, neither on PATH nor in /usr/src/tensorrt/bin" in refused.stderr
    assert "docker compose run --rm engine" in refused.stderr


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"log": "[I] a\n[E] no kernel image for this GPU", "status": 1, "plan": None}, "no kernel image for this GPU"),
        ({"plan": None}, "ended well and wrote no model.plan"),
        ({"plan": b""}, "ended well and wrote no model.plan"),
        ({"log": "[I] TensorRT version: 10.4.0"}, "did not tell its `Selected Device`"),
    ],
    ids=["failed", "no engine", "empty", "no device"],
)
def test_a_build_that_failed_is_not_published(
    builder: Builder, exported: Path, behaviour: dict[str, object], message: str
) -> None:
    builder.install(**behaviour)  # type: ignore[arg-type]
    refused = run(builder, exported)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert not list(builder.folder.parent.glob("model_repository/*/[0-9]*"))


def test_only_graphs_for_gpus_are_built(builder: Builder, tmp_path: Path) -> None:
    builder.install()
    plain = graphs.exported(tmp_path / "plain", EMBEDDER, graphs.embedder())
    refused = run(builder, plain)
    assert refused.returncode == 1
    assert "holds a graph for CPUs; expected a graph that was exported with --target gpu" in refused.stderr
    assert builder.arguments is None


def test_what_could_not_be_judged_is_not_built(builder: Builder, tmp_path: Path) -> None:
    builder.install()
    blind = graphs.exported(tmp_path / "blind", EMBEDDER, graphs.embedder(), gpu=graphs.L4)
    refused = run(builder, blind)
    assert refused.returncode == 1
    assert "has no golden pictures, by which the engine would be judged" in refused.stderr
    assert builder.arguments is None


def test_a_graph_that_was_changed_is_not_built(builder: Builder, exported: Path) -> None:
    builder.install()
    (exported / "model.onnx").write_bytes(b"something else")
    refused = run(builder, exported)
    assert refused.returncode == 1
    assert "restore it or export again" in refused.stderr
    assert builder.arguments is None


def test_an_engine_is_no_source_of_another(builder: Builder, exported: Path, tmp_path: Path) -> None:
    builder.install()
    assert run(builder, exported, "--output", tmp_path / "built").returncode == 0
    refused = run(builder, tmp_path / "built")
    assert refused.returncode == 1
    assert "holds an engine; expected a graph" in refused.stderr


def test_the_containers_folder_is_looked_in_too(
    builder: Builder, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.install()
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(engine, "HOME", builder.folder)
    assert engine.build(exported, tmp_path / "built").gpu.HasField("onnx_file")
