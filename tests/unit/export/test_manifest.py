"""Manifests: read back as written, and refused where they do not fit."""

import json
from pathlib import Path
from typing import Any

import pytest

from semblance.export import manifest
from semblance.export.contract import EMBEDDER
from semblance.export.errors import ContractError, DigestMismatch
from tests.unit.export import graphs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return graphs.exported(tmp_path / "exported", EMBEDDER, graphs.embedder())


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_file_has_the_field_names_of_the_message(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    assert content["max_batch_size"] == 4
    assert content["output"] == {"name": "embedding", "data_type": "TYPE_FP32", "dims": [2048]}
    assert manifest.verify(folder).model_file.name == "model.onnx"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "classifier"}, "expected one of detector, embedder"),
        ({"output": {"name": "embedding", "data_type": "TYPE_FP32", "dims": []}}, r"\[\].*\[2048\]"),
        ({"max_batch_size": 0}, "at least 1"),
        ({"colour": "red"}, "not a manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ContractError, match=message):
        manifest.verify(folder)


def test_an_embedder_may_give_fewer_numbers(folder: Path) -> None:
    edit(folder, output={"name": "embedding", "data_type": "TYPE_FP32", "dims": [512]})
    assert manifest.contract_of(manifest.verify(folder)).output.dims == (512,)


def test_a_digest_that_was_changed_is_found(folder: Path) -> None:
    described = json.loads((folder / "manifest.json").read_text())["model_file"]
    edit(folder, model_file=described | {"sha256": "0" * 64})
    with pytest.raises(DigestMismatch, match="0000"):
        manifest.verify(folder)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "sub/model.onnx", "..", ""])
def test_a_model_file_that_is_not_beside_the_manifest_is_refused(folder: Path, name: str) -> None:
    described = json.loads((folder / "manifest.json").read_text())["model_file"]
    (folder.parent / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    edit(folder, model_file=described | {"name": name})
    with pytest.raises((ContractError, DigestMismatch)):
        manifest.verify(folder)


def test_a_model_file_that_is_gone_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(DigestMismatch, match=r"model\.onnx is not there"):
        manifest.verify(folder)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"no readable manifest\.json"):
        manifest.verify(tmp_path)
