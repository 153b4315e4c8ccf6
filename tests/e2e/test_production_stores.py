"""The chain on the stores of production: Milvus standalone, PostgreSQL and S3."""

import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path

import boto3
import pytest

from semblance.client import Client, NewItem
from semblance.serving import orchestrator
from semblance.serving.triton import Triton
from tests.stack import World

pytestmark = pytest.mark.standalone

BUCKET = "catalogue"


@pytest.fixture
def settings(s3: str, postgresql_database: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The stores' settings, with an empty bucket and an empty database."""
    credentials = {"AWS_ACCESS_KEY_ID": "semblance", "AWS_SECRET_ACCESS_KEY": "semblance", "AWS_REGION": "us-east-1"}
    for name, value in {**credentials, "AWS_ENDPOINT_URL": s3}.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    return {"SEMBLANCE_METADATA_URL": postgresql_database, "SEMBLANCE_IMAGE_STORE": f"s3://{BUCKET}/images"}


def test_what_was_put_is_found_and_survives_a_kill(
    inference: Triton,
    repository: Path,
    milvus_standalone: str,
    settings: dict[str, str],
    world: World,
    tmp_path: Path,
) -> None:
    photos = dict(list(world.photos.items())[:8])

    def start() -> AbstractContextManager[orchestrator.Orchestrator]:
        return orchestrator.running(
            tmp_path, repository=repository, triton=inference.grpc, milvus=milvus_standalone, settings=settings
        )

    with start() as server, Client(server.address) as client:
        items = [NewItem(item_id, [path], {"position": n}) for n, (item_id, path) in enumerate(photos.items())]
        assert {str(outcome) for _, outcome in client.put(items)} == {"created"}
        check(client, photos)
        os.kill(server.pid, signal.SIGKILL)
    with start() as server, Client(server.address) as client:
        check(client, photos)
        assert {str(outcome) for _, outcome in client.put(items)} == {"unchanged"}


def check(client: Client, photos: dict[str, Path]) -> None:
    """Every item is there, with its bytes, and comes first for its own photo."""
    assert client.count().items == len(photos)
    for item_id, path in photos.items():
        assert client.get(item_id, include_image_data=True).images[0].data == path.read_bytes()
        assert client.search(path, top_k=1).objects[0].hits[0].item_id == item_id
