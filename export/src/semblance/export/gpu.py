"""The GPU that a version is for, and where TensorRT keeps what it built for it."""

from __future__ import annotations

import re
import subprocess

from semblance.export.errors import ExportError
from semblance.v1.manifest_pb2 import Manifest

# Of NVIDIA's container of Triton 24.10, which docker-compose.yml runs.
TENSORRT = "10.4.0"

# In that container. ONNX Runtime makes the folder of a GPU, but not this one.
CACHE = "/var/cache/semblance/tensorrt"

NAMES = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
SECONDS = 30


def of_name(name: str | None) -> Manifest.Gpu:
    """The GPU named, or else the one of this host.

    Raises:
        ExportError: none is named, and this host has none, or several kinds.
    """
    return Manifest.Gpu(name=name or _here(), tensorrt=TENSORRT)


def cache(gpu: Manifest.Gpu) -> str:
    """The folder of its engines: one that another GPU or TensorRT built may be refused, or be slow."""
    return f"{CACHE}/{gpu.tensorrt}-{re.sub('[^a-z0-9]+', '-', gpu.name.lower()).strip('-')}"


def _here() -> str:
    try:
        found = subprocess.run(NAMES, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ExportError(
            f"this host tells of no GPU (`{' '.join(NAMES)}`: {error}); name the one that will serve with --gpu, as "
            "that command prints it there"
        ) from error
    names = {line.strip() for line in found.splitlines() if line.strip()}
    if len(names) != 1:
        raise ExportError(
            f"this host has {', '.join(sorted(names)) or 'no GPU'}; name the one that will serve with --gpu NAME"
        )
    return names.pop()
