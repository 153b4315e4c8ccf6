"""TensorRT's engine of an exported graph, built by `trtexec` for the GPU of this host.

An engine fits the kind of GPU and the version of TensorRT that built it, so it is built where it will serve, in
Triton's container. The network is strongly typed: every layer computes in the type that the graph says, which is what
the gate has judged.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from semblance.export import manifest
from semblance.export.contract import ENGINE_FILE, Tensor
from semblance.export.errors import ContractError, EngineError
from semblance.export.model_config import WORKSPACE_BYTES, shapes
from semblance.v1.manifest_pb2 import Manifest

PROGRAM = "trtexec"
# Where NVIDIA's containers have it, which is not on their PATH.
HOME = Path("/usr/src/tensorrt/bin")
# YOLO and ResNet-50 take minutes on a small GPU.
SECONDS = 3600
SHOWN_LINES = 8


def build(exported: Path, folder: Path) -> Manifest:
    """Builds the engine of a folder that was exported for a GPU, or of a published version for one.

    Writes `model.plan`, `golden.npz` and `manifest.json` into `folder`, and gives the manifest.

    Raises:
        ContractError: the folder holds no graph for a GPU, or no golden pictures to judge the engine by.
        DigestMismatch: the graph's bytes are not those of the manifest.
        EngineError: there is no `trtexec`, or it failed.
    """
    described = manifest.verify(exported)
    if not described.HasField("gpu") or manifest.is_engine(described):
        raise ContractError(
            f"{exported} holds {'an engine' if described.HasField('gpu') else 'a graph for CPUs'}; expected a graph "
            "that was exported with --target gpu. Give its folder, or export one: `semblance export reduced FOLDER "
            "--target gpu`."
        )
    if not described.HasField("golden_file"):
        raise ContractError(f"{exported} has no golden pictures, by which the engine would be judged; export it again")
    folder.mkdir(parents=True, exist_ok=True)
    engine = folder / ENGINE_FILE
    log = _run(command(described, exported / described.model_file.name, engine))
    if not engine.is_file() or not engine.stat().st_size:
        raise EngineError(f"{PROGRAM} ended well and wrote no {ENGINE_FILE}; its last lines:\n{_last(log)}")
    described.gpu.onnx_file.CopyFrom(described.model_file)
    described.gpu.name = _said(log, "Selected Device")
    described.gpu.tensorrt = _said(log, "TensorRT version")
    described.model_file.CopyFrom(manifest.file_entry(engine))
    shutil.copyfile(exported / described.golden_file.name, folder / described.golden_file.name)
    for field in ("version", "published_at", "exported_file"):
        described.ClearField(field)
    manifest.write(described, folder)
    return described


def command(described: Manifest, graph: Path, engine: Path) -> list[str]:
    """The call: one profile for every batch, fastest for the full ones that load makes."""
    tensor = Tensor(described.input.name, "UINT8", tuple(described.input.dims))
    return [
        PROGRAM,
        f"--onnx={graph}",
        f"--saveEngine={engine}",
        "--stronglyTyped",
        f"--minShapes={shapes(tensor, 1)}",
        f"--optShapes={shapes(tensor, described.max_batch_size)}",
        f"--maxShapes={shapes(tensor, described.max_batch_size)}",
        f"--memPoolSize=workspace:{WORKSPACE_BYTES >> 20}M",
        "--skipInference",
    ]


def _run(arguments: list[str]) -> str:
    """What the program said.

    Raises:
        EngineError: it is not there, failed, or did not come to an end in an hour.
    """
    program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=str(HOME))
    if program is None:
        raise EngineError(
            f"there is no {PROGRAM}, neither on PATH nor in {HOME}. Build the engine where it will serve: `docker "
            "compose run --rm engine /models/NAME/VERSION` does it in Triton's container."
        )
    try:
        done = subprocess.run(
            [program, *arguments[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{PROGRAM} did not build the engine in {SECONDS} s; is the GPU free?") from error
    if done.returncode:
        raise EngineError(f"{PROGRAM} ended with {done.returncode}; its last lines:\n{_last(done.stdout)}")
    return done.stdout


def _said(log: str, what: str) -> str:
    found = re.search(rf"\] {what}: (.+)", log)
    if found is None:
        raise EngineError(f"{PROGRAM} did not tell its `{what}`; its last lines:\n{_last(log)}")
    return found[1].strip()


def _last(log: str) -> str:
    return "\n".join(log.strip().splitlines()[-SHOWN_LINES:])
