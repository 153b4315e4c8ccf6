"""The gRPC port: any method, any bytes, any order, deadlines and cancellations, against a running service.

Input `number` of a seed is always the same one; what was stored and deleted by those before it may differ.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import grpc
import psutil
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import StatusCode
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2

from semblance.v1.catalog_pb2 import PutRequest, PutResponse
from semblance.v1.item_pb2 import Item, ItemImage
from semblance.v1.search_pb2 import SearchRequest, SearchStreamResponse
from tests.fuzz.changes import changed
from tests.fuzz.targets import CORPUS

IN_FLIGHT = 8
# A call that is not answered in this time hangs.
PATIENCE = 60.0
MEBIBYTE = 2**20
# What the service may take beside what it had before: eight messages of some megabytes, two photos being decoded, and
# one message of the largest size, which is there as it came, as a message, and as the file in it. What is freed stays
# with the allocator for a while: 515 to 585 MiB were seen on idle hosts, 730 on busy ones. Were each of the largest
# kept, they would be a gigabyte more.
MEMORY_BYTES = 768 * MEBIBYTE

OURS = ("/semblance.v1.", "/inference.")
STATUSES = {
    StatusCode.INVALID_ARGUMENT,
    StatusCode.UNAUTHENTICATED,
    StatusCode.PERMISSION_DENIED,
    StatusCode.NOT_FOUND,
    StatusCode.ALREADY_EXISTS,
    StatusCode.ABORTED,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.UNAVAILABLE,
    StatusCode.FAILED_PRECONDITION,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.UNIMPLEMENTED,
}
CODES = {status.value[0] for status in STATUSES}
# gRPC's own words for a message over the limit, which no code of ours sees.
TOO_LARGE = "message larger than max"
# What grpc.aio's client makes of a stream that ends, whatever its status, while it is sending.
WAS_SENDING = "Internal error from Core"


class Unhandled(Exception):
    """An answer that is neither valid nor one of our statuses."""


@dataclass(frozen=True, slots=True)
class Method:
    """`path` as gRPC writes it, /package.Service/Method."""

    path: str
    requests: bool
    responses: bool

    @property
    def corpus(self) -> str:
        """The beginning of its messages' names in the corpus; a stream takes what its unary sister takes."""
        name = self.path.rpartition(".")[2].replace("/", ".")
        return name.replace("SearchStream", "Search").replace("ModelStreamInfer", "ModelInfer")


@dataclass(frozen=True, slots=True)
class Input:
    """Messages of one call, which ends after `seconds`, by its caller's word where `cancelled`."""

    method: Method
    bodies: tuple[bytes, ...]
    seconds: float = PATIENCE
    cancelled: bool = False

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = asdict(self) | {"bodies": [base64.b64encode(body).decode() for body in self.bodies]}
        path.write_text(json.dumps(content))

    @classmethod
    def read(cls, path: Path) -> "Input":
        content = json.loads(path.read_text())
        bodies = tuple(map(base64.b64decode, content.pop("bodies")))
        return cls(Method(**content.pop("method")), bodies, **content)


def methods(address: str) -> list[Method]:
    """All that the port offers, by its own account."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        return [
            Method(f"/{service}/{method.name}", method.client_streaming, method.server_streaming)
            for service in sorted(database.get_services())
            for method in pool.FindServiceByName(service).methods
        ]


class Inputs:
    def __init__(self, offered: list[Method], seed: int) -> None:
        self._methods = offered
        self._seed = seed
        self._images = [path.read_bytes() for path in sorted((CORPUS / "images").iterdir())]
        self._messages = {path.name: path.read_bytes() for path in sorted((CORPUS / "messages").iterdir())}

    def __getitem__(self, number: int) -> Input:
        random = Random(f"{self._seed} {number}")
        method = random.choice(self._methods)
        count = random.randint(0, 4) if method.requests else 1
        bodies = tuple(self._body(random, method) for _ in range(count))
        if random.random() < 0.1:
            return Input(method, bodies, seconds=random.choice((0.0005, 0.005, 0.05)), cancelled=random.random() < 0.5)
        return Input(method, bodies)

    def _body(self, random: Random, method: Method) -> bytes:
        own = [data for name, data in self._messages.items() if name.startswith(method.corpus)]
        everything = [*self._messages.values(), *self._images]
        match random.randrange(10):
            case 0:
                return random.randbytes(random.randint(0, 200))
            case 1:
                return random.choice(everything)
            case 2 | 3 | 4:
                return self._with_image(random, method)
            case 5 | 6:
                return random.choice(own or [b""])
            case _:
                return changed(random, random.choice(own or [b""]), everything)

    def _with_image(self, random: Random, method: Method) -> bytes:
        """A valid message around a nasty file, as it is or worse."""
        image = random.choice(self._images)
        if random.random() < 0.6:
            image = changed(random, image, self._images)
        if method.corpus.endswith(".Put"):
            item_id = f"item-{random.randint(0, 20)}"
            return PutRequest(item=Item(item_id=item_id, images=[ItemImage(data=image)])).SerializeToString()
        if method.corpus.endswith(".ModelInfer"):
            request = service_pb2.ModelInferRequest(model_name="search")
            request.inputs.add(name="image", datatype="BYTES", shape=[1])
            request.raw_input_contents.append(len(image).to_bytes(4, "little") + image)
            return bytes(request.SerializeToString())
        return SearchRequest(request_id=str(random.random()), image=image).SerializeToString()


async def send(channel: Any, given: Input) -> None:
    """By a `grpc.aio.Channel`, whose types know messages only. Raises Unhandled."""
    method, answers = given.method, 0
    call = _call(channel, given)
    try:
        async with asyncio.timeout(PATIENCE + 10):
            if given.cancelled:
                await asyncio.sleep(given.seconds)
                call.cancel()
            async for answer in _answers(call, method):
                answers += 1
                _check_answer(method, answer)
                # Watching health has no end.
                if not method.requests and method.responses:
                    call.cancel()
    except asyncio.CancelledError:
        # Of the call, or of the one who sends.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    except TimeoutError:
        raise Unhandled(f"no end after {PATIENCE + 10:.0f} s") from None
    except grpc.aio.AioRpcError as error:
        _check_status(method, error)
    else:
        # A stream of answers to one request may be empty.
        due = 0 if method.responses and not method.requests else len(given.bodies)
        if not given.cancelled and method.path.startswith(OURS) and answers < due:
            raise Unhandled(f"{answers} answers to {due} requests, and no status that says why")


def _call(channel: Any, given: Input) -> Any:
    path, timeout = given.method.path, None if given.cancelled else given.seconds

    async def bodies() -> AsyncIterator[bytes]:
        for body in given.bodies:
            yield body

    if given.method.requests:
        return channel.stream_stream(path)(bodies(), timeout=timeout)
    if given.method.responses:
        return channel.unary_stream(path)(given.bodies[0], timeout=timeout)
    return channel.unary_unary(path)(given.bodies[0], timeout=timeout)


async def _answers(call: Any, method: Method) -> AsyncIterator[bytes]:
    if method.responses:
        async for answer in call:
            yield answer
    else:
        yield await call


def _check_answer(method: Method, answer: bytes) -> None:
    """Requests of a stream fail in their answers."""
    code, text = 0, ""
    match method.path.rpartition("/")[2]:
        case "SearchStream":
            failure = SearchStreamResponse.FromString(answer).failure
            code, text = failure.code, failure.message
        case "Put":
            failure = PutResponse.FromString(answer).failure
            code, text = failure.code, failure.message
        case "ModelStreamInfer":
            text = service_pb2.ModelStreamInferResponse.FromString(answer).error_message
            code = -1 if text.startswith("INTERNAL") else 0
    if code and code not in CODES:
        raise Unhandled(f"an answer of the stream fails with {code}: {text}")


def _check_status(method: Method, error: grpc.aio.AioRpcError) -> None:
    code, text = error.code(), error.details() or ""
    if method.requests and text == WAS_SENDING:
        return
    if not method.path.startswith(OURS):
        # Health and reflection are gRPC's own code: the parser's error is UNKNOWN there.
        if code not in STATUSES | {StatusCode.UNKNOWN}:
            raise Unhandled(f"{code.name}: {text}")
        return
    if code is StatusCode.DEADLINE_EXCEEDED or (code is StatusCode.RESOURCE_EXHAUSTED and TOO_LARGE in text):
        return
    if code not in STATUSES or not _has_reason(error):
        raise Unhandled(f"{code.name}: {text}")


def _has_reason(error: grpc.aio.AioRpcError) -> bool:
    status = rpc_status.from_call(error)
    return status is not None and any(detail.Is(ErrorInfo.DESCRIPTOR) for detail in status.details)


@dataclass(frozen=True, slots=True)
class Finding:
    number: int
    given: Input | None
    what: str


@dataclass(slots=True)
class Report:
    inputs: int
    findings: list[Finding]
    memory_bytes: int


async def explore(address: str, pid: int, inputs: int, seed: int) -> Report:
    """Sends `inputs` calls, then a few of the largest size; `pid` is the service, whose memory is watched."""
    process = psutil.Process(pid)
    offered = await asyncio.to_thread(methods, address)
    source = Inputs(offered, seed)
    report = Report(0, [], 0)
    before = process.memory_info().rss
    limit = 128 * MEBIBYTE
    options = [("grpc.max_send_message_length", limit), ("grpc.max_receive_message_length", limit)]

    async def attempt(number: int, given: Input) -> None:
        try:
            await send(channel, given)
        except Exception as error:
            what = str(error) if isinstance(error, Unhandled) else repr(error)
            report.findings.append(Finding(number, given, f"{given.method.path}: {what}"))
        report.inputs += 1
        if process.is_running():
            report.memory_bytes = max(report.memory_bytes, process.memory_info().rss - before)

    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            await attempt(number, source[number])

    async with grpc.aio.insecure_channel(address, options=options) as channel:
        numbers = iter(range(inputs))
        await asyncio.gather(*(work(numbers) for _ in range(IN_FLIGHT)))
        for number, given in enumerate(_largest(offered), start=inputs):
            await attempt(number, given)
    if report.memory_bytes > MEMORY_BYTES:
        what = f"the service grew by {report.memory_bytes // MEBIBYTE} MiB, and may by {MEMORY_BYTES // MEBIBYTE}"
        report.findings.append(Finding(-1, None, what))
    if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
        report.findings.append(Finding(-1, None, "the service has ended"))
    return report


def _largest(offered: list[Method]) -> Iterator[Input]:
    """A file of 60 MB within the limit of messages, and messages beyond it."""
    for method in offered:
        if method.path.endswith(("/Search", "/Put", "/SearchStream", "/ModelInfer", "/Get", "/Give")):
            yield Input(method, (SearchRequest(image=bytes(60 * MEBIBYTE)).SerializeToString(),))
            yield Input(method, (bytes(66 * MEBIBYTE),))


async def explore_wire(address: str, inputs: int, seed: int, healthy: Callable[[], bool]) -> Report:
    """Bytes that are not HTTP/2, or no longer so after a while; after each of them the service answers others."""
    host, _, port = address.rpartition(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    report = Report(0, [], 0)
    for number in range(inputs):
        random = Random(f"{seed} wire {number}")
        frames = b"".join(
            random.randint(0, 2**14).to_bytes(3) + random.randbytes(6) + random.randbytes(random.randint(0, 64))
            for _ in range(random.randint(0, 6))
        )
        data = random.choice((preface + frames, changed(random, preface + frames, [preface]), frames))
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(data)
            await writer.drain()
            if random.random() < 0.3:
                async with asyncio.timeout(0.05):
                    await reader.read(100)
        except (ConnectionError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
        report.inputs += 1
        if number % 50 == 49 and not await asyncio.to_thread(healthy):
            report.findings.append(Finding(number, None, f"not serving after {data.hex()}"))
            break
    return report
