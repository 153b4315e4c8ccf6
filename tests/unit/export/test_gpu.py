"""The GPU that an export is for: named, or found by a stand-in for nvidia-smi."""

from pathlib import Path

import pytest

from semblance.export import gpu
from semblance.export.errors import ExportError
from semblance.v1.manifest_pb2 import Manifest


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that prints the file `names` if it is asked as nvidia-smi has to be."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\n[ "$*" = "--query-gpu=name --format=csv,noheader" ] || exit 2\nexec /bin/cat {tmp_path}/names\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "names"


def test_the_gpu_of_this_host_is_found(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("NVIDIA L4\nNVIDIA L4\n")
    assert gpu.of_name(None) == Manifest.Gpu(name="NVIDIA L4", tensorrt=gpu.TENSORRT)


def test_a_name_needs_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.of_name("NVIDIA A10").name == "NVIDIA A10"
    with pytest.raises(ExportError, match=r"no GPU.*name the one that will serve with --gpu"):
        gpu.of_name(None)


@pytest.mark.parametrize(
    ("names", "message"),
    [("NVIDIA L4\nNVIDIA A10\n", "this host has NVIDIA A10, NVIDIA L4; name"), ("", "this host has no GPU; name")],
)
def test_several_kinds_or_none_are_refused(nvidia_smi: Path, names: str, message: str) -> None:
    nvidia_smi.write_text(names)
    with pytest.raises(ExportError, match=message):
        gpu.of_name(None)


def test_engines_are_kept_by_gpu_and_version_in_one_folder_below_the_cache() -> None:
    folders = {
        gpu.cache(Manifest.Gpu(name=name, tensorrt=version))
        for name in ("NVIDIA L4", "NVIDIA A100-SXM4-80GB")
        for version in ("10.4.0", "10.9.0")
    }
    assert folders == {
        f"{gpu.CACHE}/{folder}"
        for folder in (
            "10.4.0-nvidia-l4",
            "10.9.0-nvidia-l4",
            "10.4.0-nvidia-a100-sxm4-80gb",
            "10.9.0-nvidia-a100-sxm4-80gb",
        )
    }
