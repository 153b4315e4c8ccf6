"""The service and the programs of `benchmarks/alternatives`, started side by side and called in the same way."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
from google.protobuf import json_format, text_format
from pymilvus import MilvusClient
from tritonclient.grpc import InferInput, model_config_pb2
from tritonclient.grpc.aio import InferenceServerClient

from semblance.benchmarks.host import ROOT
from semblance.benchmarks.stack import MODELS, Stack
from semblance.client import AsyncClient
from semblance.serving import ports
from semblance.serving.process import StartError, running, sibling_environment, tail

HOME = ROOT / "benchmarks" / "alternatives"
# The make target that builds their environments.
SETUP = "setup-alternatives"
# Loading a model compiles it, and warming it up runs it; both take long where cores are shared.
READY_SECONDS = 600.0
CALL_SECONDS = 30.0
GRACE_SECONDS = 30.0

# A JPEG file's objects, best first: the ids of the items that each resembles, most similar first.
Search = Callable[[bytes], Awaitable[list[list[str]]]]


@dataclass(frozen=True, slots=True)
class Contender:
    """One that runs. `pid` is its process, children counted with it; None where the service's processes do its work."""

    search: Search
    pid: int | None = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Its processes get no CPU while inside."""
        processes = _family(self.pid)
        try:
            for process in processes:
                process.suspend()
            yield
        finally:
            for process in processes:
                # What ended meanwhile is found out by the next search.
                with suppress(psutil.NoSuchProcess):
                    process.resume()


def _family(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        return []
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


@dataclass(frozen=True, slots=True)
class Site:
    """What all of them share: a running service with its Triton, Milvus, catalogue and models.

    Attributes:
        packages: the folder of exported models whose weights the plain script runs.
        photos: the files that may be searched with.
        folder: for logs.
    """

    stack: Stack
    packages: Path
    photos: Sequence[Path]
    folder: Path

    @property
    def collection(self) -> str:
        client = MilvusClient(self.stack.milvus, timeout=CALL_SECONDS, dedicated=True)
        [name] = client.list_collections(timeout=CALL_SECONDS)
        client.close()
        return str(name)

    @property
    def variables(self) -> dict[str, str]:
        """The process environment of a program that runs the models itself."""
        models = {name.upper(): str(self.stack.repository / name / "1" / "model.onnx") for name in MODELS}
        return dict(os.environ) | models | {"MILVUS_URI": self.stack.milvus, "COLLECTION": self.collection}


Start = Callable[[Site], AbstractAsyncContextManager[Contender]]


@asynccontextmanager
async def semblance(site: Site) -> AsyncIterator[Contender]:
    async with AsyncClient(site.stack.target, timeout=CALL_SECONDS) as client:

        async def search(photo: bytes) -> list[list[str]]:
            result = await client.search(photo)
            return [[hit.item_id for hit in found.hits] for found in result.objects]

        yield Contender(search)


@asynccontextmanager
async def plain(site: Site) -> AsyncIterator[Contender]:
    """The script reads the names of files: only the site's photos can be searched with, one at a time."""
    python = sibling_environment("export", SETUP) / "bin" / "python"
    command: list[str | Path] = [python, HOME / "plain.py", "--weights", site.packages]
    command += ["--milvus-uri", site.stack.milvus, "--collection", site.collection]
    paths = {path.read_bytes(): path for path in site.photos}
    log = site.folder / "plain.log"
    with log.open("wb") as errors:
        script = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=2**20,
        )
    assert script.stdin is not None
    assert script.stdout is not None
    asked, printed = script.stdin, script.stdout

    async def search(photo: bytes) -> list[list[str]]:
        asked.write(f"{paths[photo]}\n".encode())
        async for line in printed:
            # Ultralytics prints, too.
            if line.startswith(b"[{"):
                return item_ids(json.loads(line))
        raise StartError(f"the plain script ended\n{tail(log)}")

    try:
        # The first one builds Ultralytics' predictor.
        await search(site.photos[0].read_bytes())
        yield Contender(search, script.pid)
    finally:
        asked.close()
        with suppress(ProcessLookupError):
            script.terminate()
        await script.wait()


@asynccontextmanager
async def bls(site: Site) -> AsyncIterator[Contender]:
    """The chain as a model of the service's own Triton, in the Python environment of the alternatives."""
    environment = sibling_environment("alternatives", SETUP)
    model = site.stack.repository / "bls"
    shutil.copytree(HOME / "bls", model)
    shutil.copy(HOME / "chain.py", model / "1")
    config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    settings = {
        "milvus_uri": site.stack.milvus,
        "collection": site.collection,
        "EXECUTION_ENV_PATH": str(environment),
    }
    for name, value in settings.items():
        config.parameters[name].string_value = value
    async with InferenceServerClient(site.stack.triton) as client:
        written = json_format.MessageToJson(config, preserving_proto_field_name=True)
        await client.load_model("bls", config=written, client_timeout=READY_SECONDS)

        async def search(photo: bytes) -> list[list[str]]:
            image = InferInput("image", [1, 1], "BYTES")
            image.set_data_from_numpy(np.array([[photo]], dtype=np.object_))
            answer = await client.infer("bls", [image], client_timeout=CALL_SECONDS)
            return item_ids(json.loads(answer.as_numpy("objects").item()))

        try:
            yield Contender(search)
        finally:
            await client.unload_model("bls")
            shutil.rmtree(model)


@asynccontextmanager
async def bentoml(site: Site) -> AsyncIterator[Contender]:
    program = sibling_environment("alternatives", SETUP) / "bin" / "bentoml"
    [port] = ports.free(1)
    address = ["--host", ports.LOOPBACK, "--port", str(port)]
    command: list[str | Path] = [program, "serve", "bentoml_service:Search", *address, "--timeout-keep-alive", "1800"]
    variables = site.variables | {"BENTOML_DO_NOT_TRACK": "True"}
    async with served("BentoML", command, variables, f"http://{ports.LOOPBACK}:{port}/search", site) as contender:
        yield contender


@asynccontextmanager
async def ray(site: Site) -> AsyncIterator[Contender]:
    program = sibling_environment("alternatives", SETUP) / "bin" / "python"
    [port] = ports.free(1)
    variables = site.variables | {
        "PORT": str(port),
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # By default Ray's workers leave the cores to whoever else is there (nice 15).
        "RAY_worker_niceness": "0",
        # By default Ray starts its proxy again and again where a busy host takes longer than 5 seconds for it, and
        # takes one for dead that was paused for longer than 10.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(READY_SECONDS),
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": str(READY_SECONDS),
        # Ray would write one into the user's home.
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    async with served(
        "Ray Serve", [program, "ray_serve.py"], variables, f"http://{ports.LOOPBACK}:{port}/", site
    ) as contender:
        yield contender


@asynccontextmanager
async def served(
    name: str, command: Sequence[str | Path], variables: Mapping[str, str], url: str, site: Site
) -> AsyncIterator[Contender]:
    """A program that answers a photo posted to `url`."""
    log = site.folder / f"{name}.log"
    photo = site.photos[0].read_bytes()
    with running(name, command, log=log, environment=variables, folder=HOME, grace=GRACE_SECONDS) as process:
        # In a thread, so that Ctrl-C ends the wait.
        await asyncio.to_thread(process.wait_until, lambda: answers(url, photo), READY_SECONDS)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(CALL_SECONDS), raise_for_status=True
        ) as session:

            async def search(photo: bytes) -> list[list[str]]:
                async with session.post(url, data=photo, headers={"Content-Type": "image/jpeg"}) as response:
                    return item_ids(json.loads(await response.read()))

            yield Contender(search, process.pid)


def answers(url: str, photo: bytes) -> bool:
    request = urllib.request.Request(url, photo, {"Content-Type": "image/jpeg"})
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def item_ids(objects: list[dict[str, Any]]) -> list[list[str]]:
    """What every alternative answers: `[{"box": …, "items": [{"item_id": …, …}, …]}, …]`."""
    return [[item["item_id"] for item in found["items"]] for found in objects]
