"""What a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parents[4]
CPU_INFO = Path("/proc/cpuinfo")
# CPU features that decide how fast reduced precision is.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
PACKAGES = ("grpcio", "numpy", "pymilvus", "simplejpeg", "tritonclient")


@dataclass(frozen=True, slots=True)
class Host:
    """`cores` are those that this process may use, `memory` is in GiB, `commit` ends with + where files differ.

    `notes` say what else a reader should know, such as what the load generator and others took of the cores.
    """

    cpu: str
    features: tuple[str, ...]
    cores: int
    memory: float
    system: str
    versions: Mapping[str, str]
    commit: str
    notes: tuple[str, ...] = ()

    @classmethod
    def here(cls, servers: Mapping[str, str]) -> Self:
        """This host; `servers` are the versions of what is measured, such as Triton's."""
        info = dict(_cpu_info())
        flags = info.get("flags", "").split()
        libraries = {name: importlib.metadata.version(name) for name in PACKAGES}
        return cls(
            cpu=info.get("model name", platform.processor()),
            features=tuple(name for name in FEATURES if name in flags),
            cores=len(os.sched_getaffinity(0)),
            memory=round(psutil.virtual_memory().total / 2**30, 1),
            system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
            versions={**servers, **libraries},
            commit=_commit(),
        )

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The host whose `dataclasses.asdict` these fields are, as JSON has them."""
        return cls(**{**fields, "features": tuple(fields["features"]), "notes": tuple(fields["notes"])})

    def noting(self, *notes: str) -> Self:
        return replace(self, notes=(*self.notes, *notes))


def _cpu_info() -> list[tuple[str, str]]:
    """The fields of the first core in Linux' /proc/cpuinfo."""
    if not CPU_INFO.exists():
        return []
    lines = CPU_INFO.read_text().partition("\n\n")[0].splitlines()
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
