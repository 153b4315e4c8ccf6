"""Milvus Lite and the real standalone server, started and stopped."""

from pathlib import Path
from urllib.request import urlopen

import pytest
from pymilvus import MilvusClient

from semblance.serving import milvus


@pytest.mark.parametrize("kind", [milvus.lite, pytest.param(milvus.standalone, marks=pytest.mark.standalone)])
def test_rows_are_there_after_a_restart(kind: "type", tmp_path: Path) -> None:
    with kind(tmp_path / "milvus") as server:
        client = MilvusClient(server.uri, timeout=30)
        client.create_collection("things", dimension=4, timeout=60)
        client.insert("things", [{"id": number, "vector": [float(number)] * 4} for number in range(10)], timeout=30)
        client.close()
    with kind(tmp_path / "milvus") as server:
        client = MilvusClient(server.uri, timeout=30)
        client.load_collection("things", timeout=60)
        count = client.query(
            "things", filter="id >= 0", output_fields=["count(*)"], consistency_level="Strong", timeout=60
        )
        assert count[0]["count(*)"] == 10
        client.close()
    assert not milvus.is_ready(server.uri)


@pytest.mark.standalone
def test_two_standalone_servers_side_by_side(tmp_path: Path) -> None:
    with milvus.standalone(tmp_path / "one") as one, milvus.standalone(tmp_path / "two") as two:
        for server in (one, two):
            client = MilvusClient(server.uri, timeout=30)
            assert client.list_collections(timeout=30) == []
            client.create_collection(f"things_{server.port}", dimension=4, timeout=60)
            client.close()
            with urlopen(f"http://{server.metrics}/metrics", timeout=30) as told:
                assert b"milvus_rootcoord_collection_num 1\n" in told.read()
        assert MilvusClient(one.uri, timeout=30).list_collections(timeout=30) == [f"things_{one.port}"]
