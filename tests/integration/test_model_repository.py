"""A model repository in a bucket."""

from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from semblance.export import repository
from semblance.export.contract import EMBEDDER, embedder_of
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.errors import NotFound
from tests.unit.export import graphs


def copy(folder: Path, bucket: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            boto3.client("s3").upload_file(str(path), bucket, f"models/{path.relative_to(folder)}")


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = uuid4().hex
    boto3.client("s3").create_bucket(Bucket=name)
    return name


async def test_a_version_is_found_as_soon_as_it_is_there(tmp_path: Path, bucket: str) -> None:
    models = FileModelRepository(f"s3://{bucket}/models")
    with pytest.raises(NotFound, match="no embedder version 1, nor any other"):
        await models.describe("embedder", 1)
    for number, contract in enumerate((EMBEDDER, embedder_of(8)), 1):
        exported = tmp_path / str(number)
        graphs.exported(exported, contract, graphs.embedder(contract=contract), golden=True)
        repository.publish(exported, tmp_path / "published")
        copy(tmp_path / "published", bucket)
        newest = await models.newest("embedder")
        assert (newest.version, newest.output.dims) == (number, contract.output.dims)
        await models.verify(newest)
        assert await models.golden(newest) is not None
        assert f'"{newest.name}"' in await models.config(newest.name)
