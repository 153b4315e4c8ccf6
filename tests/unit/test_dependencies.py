"""What installing the client or the orchestrator brings along, by the metadata of what is installed here."""

import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# Ultralytics is AGPL-3.0; torch and what carries it weigh gigabytes.
FORBIDDEN = {"torch", "torchvision", "ultralytics", "onnx", "onnxruntime"}


def tree(distribution: str, *extras: str) -> set[str]:
    """Names of all distributions that one needs with these extras, its own among them.

    Raises importlib.metadata.PackageNotFoundError where one is not installed, so that its needs are not known.
    """
    seen: set[tuple[str, str]] = set()
    pending = [(canonicalize_name(distribution), extra) for extra in ("", *extras)]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in importlib.metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                pending += [(canonicalize_name(needed.name), each) for each in ("", *needed.extras)]
    return {name for name, _ in seen}


def extras_of(distribution: str) -> list[str]:
    """All but `ray`, which is in an environment of its own: its lock tells what it brings."""
    extras = importlib.metadata.metadata(distribution).get_all("Provides-Extra") or []
    return [extra for extra in extras if extra != "ray"]


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("semblance-client", {"grpcio", "protobuf", "semblance-proto", "rich"}),
        ("semblance-orchestrator", {"pymilvus", "tritonclient", "aiobotocore", "psycopg-binary", "semblance-proto"}),
    ],
)
def test_neither_torch_nor_ultralytics_comes_along(distribution: str, expected: set[str]) -> None:
    needed = tree(distribution, *extras_of(distribution))
    assert needed >= expected
    assert needed.isdisjoint(FORBIDDEN)


def test_a_caller_gets_nothing_heavier_than_grpc() -> None:
    assert tree("semblance-client") == {
        "semblance-client",
        "semblance-proto",
        "googleapis-common-protos",
        "grpcio",
        "protobuf",
        "typing-extensions",
    }


def test_what_exports_would_be_found_out() -> None:
    with pytest.raises(importlib.metadata.PackageNotFoundError, match=r"ultralytics|torch|onnxruntime"):
        tree("semblance-export", "torch")


@pytest.mark.parametrize("lock", ["orchestrator", "app", "ray"])
def test_what_containers_and_hosts_install_has_neither(lock: str) -> None:
    text = (ROOT / "environments" / f"{lock}.lock").read_text()
    locked = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    assert "grpcio" in locked
    assert locked.isdisjoint(FORBIDDEN - {"onnx"})
