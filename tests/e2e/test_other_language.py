"""A client in another language, with nothing but `proto/`, sees what ours sees."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from semblance.client import Client, NewItem, SemblanceError
from semblance.serving.orchestrator import Orchestrator
from tests.stack import World

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JavaScript client, with its packages installed beside it."""
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("npm is not installed, and CI must run this test")
        pytest.skip("npm is not installed: the JavaScript client can't run")
    folder = tmp_path_factory.mktemp("javascript") / "client"
    shutil.copytree(HERE / "node", folder)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)
    return folder / "search.js"


def test_javascript_gets_the_same_hits(service: Orchestrator, world: World, javascript: Path) -> None:
    with Client(service.address) as client:
        outcomes = list(client.put(NewItem(item, [path]) for item, path in world.photos.items()))
        assert not [outcome for _, outcome in outcomes if isinstance(outcome, SemblanceError)]
        photo = world.scenes[0].path
        ours = [
            [(hit.item_id, hit.similarity) for hit in found.hits] for found in client.search(photo, top_k=5).objects
        ]
    node = subprocess.run(["node", javascript, PROTO, service.address, photo], capture_output=True, text=True)
    assert node.returncode == 0, node.stderr
    answer = json.loads(node.stdout)
    theirs = [[tuple(hit) for hit in hits] for hits in answer]
    assert [[item for item, _ in hits] for hits in theirs] == [[item for item, _ in hits] for hits in ours]
    assert theirs[0][0][1] == pytest.approx(ours[0][0][1], abs=1e-4)
