"""The search as a model of the KServe-v2 protocol, called by stock tritonclient."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from tritonclient.grpc import service_pb2
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import InferenceServerException

from semblance.orchestrator.errors import DependencyUnavailable
from tests.integration.service.world import (
    BOTH,
    GREEN_PHOTO,
    GREY_PHOTO,
    PATIENCE,
    PRICE,
    RED_PHOTO,
    Caller,
    World,
    item,
    reason,
    until,
)


def bytes_input(name: str, content: bytes) -> InferInput:
    tensor = InferInput(name, [1], "BYTES")
    tensor.set_data_from_numpy(np.array([content], dtype=object))
    return tensor


def inputs(image: bytes, **options: Any) -> list[InferInput]:
    named = [bytes_input("options", json.dumps(options).encode())] if options else []
    return [bytes_input("image", image), *named]


def client_of(caller: Caller) -> InferenceServerClient:
    return InferenceServerClient(caller.address)


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[InferenceServerClient]:
    async with client_of(caller) as made:
        yield made


async def search_statistics(client: InferenceServerClient) -> service_pb2.InferStatistics:
    [search] = (await client.get_inference_statistics("search")).model_stats
    return search.inference_stats


def request(content: bytes = RED_PHOTO, **fields: Any) -> service_pb2.ModelInferRequest:
    """As a client without a library writes it, with typed contents."""
    image = service_pb2.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[1])
    image.contents.bytes_contents.append(content)
    return service_pb2.ModelInferRequest(**{"model_name": "search", "inputs": [image], **fields})


async def test_a_release_is_named_as_an_option(client: InferenceServerClient) -> None:
    result = await client.infer("search", inputs(RED_PHOTO, release="r1"))
    assert result.get_response().parameters["release"].string_param == "r1"
    with pytest.raises(InferenceServerException, match="no release 'r9'"):
        await client.infer("search", inputs(RED_PHOTO, release="r9"))


async def test_a_photo_finds_what_the_search_service_finds(caller: Caller, client: InferenceServerClient) -> None:
    await caller.put(item("red", RED_PHOTO), item("green", GREEN_PHOTO), item("grey", GREY_PHOTO))
    native = await caller.search(BOTH, top_k=2)
    result = await client.infer("search", inputs(BOTH, top_k=2), request_id="7")
    assert result.get_response().id == "7"
    ids, similarities, boxes = (result.as_numpy(name) for name in ("item_id", "similarity", "box"))
    assert ids.tolist() == [[hit.item_id.encode() for hit in found.hits] for found in native.objects]
    assert similarities.tolist() == [[hit.similarity for hit in found.hits] for found in native.objects]
    assert boxes.tolist() == [[o.box.x1, o.box.y1, o.box.x2, o.box.y2] for o in native.objects]
    parameters = result.get_response().parameters
    assert parameters["release"].string_param == native.release
    assert not parameters["nothing_detected"].bool_param


async def test_missing_hits_are_padding(caller: Caller, client: InferenceServerClient) -> None:
    await caller.put(item("rød", RED_PHOTO), item("green", GREEN_PHOTO))
    result = await client.infer("search", inputs(BOTH))
    ids, similarities = result.as_numpy("item_id"), result.as_numpy("similarity")
    assert ids.shape == similarities.shape == (2, 10)
    assert [row[0].decode() for row in ids] == ["green", "rød"]
    assert {*ids[:, 2:].flat} == {b""}
    assert np.isnan(similarities).tolist() == [[False] * 2 + [True] * 8] * 2


async def test_every_search_option_is_taken(caller: Caller, client: InferenceServerClient) -> None:
    await caller.put(item("cheap", RED_PHOTO, **PRICE), item("free", RED_PHOTO))
    comparison = {"field": "price", "operator": "LESS", "values": [{"double_value": 3}]}
    options = {"objects": "WHOLE_IMAGE", "top_k": 1, "filter": {"comparison": comparison}}
    result = await client.infer("search", inputs(BOTH, **options))
    assert result.as_numpy("item_id").tolist() == [[b"cheap"]]
    assert result.as_numpy("box").tolist() == [[0, 0, 320, 240]]


async def test_only_the_outputs_that_are_asked_for_come(client: InferenceServerClient) -> None:
    outputs = [InferRequestedOutput("box"), InferRequestedOutput("similarity")]
    result = await client.infer("search", inputs(GREY_PHOTO), outputs=outputs)
    assert [output.name for output in result.get_response().outputs] == ["box", "similarity"]
    assert result.get_response().parameters["nothing_detected"].bool_param


async def test_typed_contents_are_as_good_as_raw_ones(caller: Caller) -> None:
    await caller.put(item("red", RED_PHOTO))
    answer = await GRPCInferenceServiceStub(caller.channel).ModelInfer(request())
    assert answer.raw_output_contents[0].startswith(b"\x03\0\0\0red\0\0\0\0")


async def test_the_description_agrees_with_the_answer(client: InferenceServerClient) -> None:
    metadata = await client.get_model_metadata("search")
    config = (await client.get_model_config("search", "1")).config
    answer = (await client.infer("search", inputs(BOTH))).get_response()
    assert [(one.name, one.datatype) for one in metadata.outputs] == [(o.name, o.datatype) for o in answer.outputs]
    for described, sent in zip(metadata.outputs, answer.outputs, strict=True):
        assert all(dim in (-1, size) for dim, size in zip(described.shape, sent.shape, strict=True))
    assert metadata.versions == ["1"] == [answer.model_version]
    assert [(one.name, list(one.shape)) for one in metadata.inputs] == [(o.name, o.dims) for o in config.input]
    assert [one.optional for one in config.input] == [False, True]
    assert config.max_batch_size == 0
    for step in config.ensemble_scheduling.step:
        assert (await client.get_model_config(step.model_name)).config.name == step.model_name


async def test_it_is_ready_when_the_service_is(world: World) -> None:
    service = world.service()
    caller = Caller(await service.bind())
    async with client_of(caller) as client:
        assert await client.is_server_live()
        assert (await client.is_server_ready(), await client.is_model_ready("search")) == (False, False)
        with pytest.raises(InferenceServerException, match="the service is starting") as raised:
            await client.infer("search", inputs(RED_PHOTO))
        assert raised.value.status() == "StatusCode.UNAVAILABLE"
        await service.activate()
        assert (await client.is_server_ready(), await client.is_model_ready("search", "1")) == (True, True)
        assert "statistics" in (await client.get_server_metadata()).extensions
    await caller.channel.close()
    await service.stop()


def tensor(**fields: Any) -> service_pb2.ModelInferRequest.InferInputTensor:
    return service_pb2.ModelInferRequest.InferInputTensor(**{"datatype": "BYTES", "shape": [1], **fields})


TIMEOUT = {"timeout": service_pb2.InferParameter(int64_param=1)}
IMAGE, OPTIONS = tensor(name="image"), tensor(name="options")
FRAMED = len(RED_PHOTO).to_bytes(4, "little") + RED_PHOTO
BAD_REQUESTS = [
    (request(model_name="detector"), StatusCode.NOT_FOUND, "no model 'detector'; this service has 'search' version 1"),
    (request(model_version="2"), StatusCode.NOT_FOUND, "no model 'search' version 2"),
    (request(b"GIF89a"), StatusCode.INVALID_ARGUMENT, "JPEG, PNG or WebP"),
    (request(inputs=[]), StatusCode.INVALID_ARGUMENT, "the input image is missing"),
    (request(inputs=[IMAGE]), StatusCode.INVALID_ARGUMENT, "has 0 elements in bytes_contents, and must have 1"),
    (request(parameters=TIMEOUT), StatusCode.INVALID_ARGUMENT, "not supported here: timeout; leave them out"),
    (request(inputs=[tensor(name="image", parameters=TIMEOUT)]), StatusCode.INVALID_ARGUMENT, "the input image has"),
    (request(inputs=[tensor(name="photo")]), StatusCode.INVALID_ARGUMENT, "'photo'; search takes image, options"),
    (
        request(inputs=[tensor(name="image", datatype="UINT8")]),
        StatusCode.INVALID_ARGUMENT,
        "UINT8 [1], and must be BYTES [1]",
    ),
    (
        request(inputs=[tensor(name="image", shape=[1, 1])]),
        StatusCode.INVALID_ARGUMENT,
        "BYTES [1, 1], and must be BYTES [1]",
    ),
    (request(raw_input_contents=[FRAMED]), StatusCode.INVALID_ARGUMENT, "contents beside raw_input_contents"),
    (
        request(inputs=[IMAGE, OPTIONS], raw_input_contents=[FRAMED]),
        StatusCode.INVALID_ARGUMENT,
        "2 inputs came with 1 raw_input_contents",
    ),
    (
        request(inputs=[IMAGE, IMAGE], raw_input_contents=[FRAMED, FRAMED]),
        StatusCode.INVALID_ARGUMENT,
        "image is given twice",
    ),
    (request(inputs=[IMAGE], raw_input_contents=[RED_PHOTO]), StatusCode.INVALID_ARGUMENT, "expected 4 + length"),
    (request(inputs=[IMAGE], raw_input_contents=[b"\0\0"]), StatusCode.INVALID_ARGUMENT, "has 2 bytes"),
    (
        request(inputs=[IMAGE, OPTIONS], raw_input_contents=[FRAMED, b"\x0b\0\0\0" + b'{"topk": 5}']),
        StatusCode.INVALID_ARGUMENT,
        "options is not semblance.v1.SearchOptions in JSON",
    ),
    (
        request(inputs=[IMAGE, OPTIONS], raw_input_contents=[FRAMED, b"\x01\0\0\0\xff"]),
        StatusCode.INVALID_ARGUMENT,
        "options is not semblance.v1.SearchOptions in JSON",
    ),
    (
        request(inputs=[IMAGE, OPTIONS], raw_input_contents=[FRAMED, b"\x0c\0\0\0" + b'{"top_k": 0}']),
        StatusCode.INVALID_ARGUMENT,
        "1 to 1000",
    ),
    (
        request(inputs=[IMAGE, OPTIONS], raw_input_contents=[FRAMED, b'\x19\0\0\0{"include_timings": true}']),
        StatusCode.INVALID_ARGUMENT,
        "include_timings asks for more than search gives",
    ),
    (
        request(outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="score")]),
        StatusCode.INVALID_ARGUMENT,
        "no output 'score'; search gives item_id, similarity, box",
    ),
    (
        request(outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="box", parameters=TIMEOUT)]),
        StatusCode.INVALID_ARGUMENT,
        "the output box has",
    ),
]


@pytest.mark.parametrize(("bad", "code", "message"), BAD_REQUESTS)
async def test_a_bad_request_is_refused_with_help(
    caller: Caller, bad: service_pb2.ModelInferRequest, code: StatusCode, message: str
) -> None:
    stub = GRPCInferenceServiceStub(caller.channel)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ModelInfer(bad, timeout=PATIENCE)
    assert reason(raised.value)[0] is code
    assert message in (raised.value.details() or "")
    assert (await stub.ModelInfer(request())).outputs


async def test_what_the_service_can_not_do_is_unimplemented(client: InferenceServerClient) -> None:
    for attempt in (client.load_model("search"), client.register_system_shared_memory("a", "a", 1)):
        with pytest.raises(InferenceServerException) as raised:
            await attempt
        assert raised.value.status() == "StatusCode.UNIMPLEMENTED"


async def test_it_is_admitted_as_other_searches_are(start: Callable[..., Any], world: World) -> None:
    caller = await start(search_in_flight=1, search_queue=0)
    world.models.gate.clear()
    native = asyncio.ensure_future(caller.search(RED_PHOTO))
    await until(lambda: world.models.waiting == 1)
    async with client_of(caller) as client:
        with pytest.raises(InferenceServerException) as raised:
            await client.infer("search", inputs(RED_PHOTO))
    assert raised.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    world.models.gate.set()
    assert (await native).objects


async def test_the_callers_deadline_is_kept(client: InferenceServerClient, world: World) -> None:
    world.models.gate.clear()
    with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
        await client.infer("search", inputs(RED_PHOTO), client_timeout=0.2)
    await until(lambda: world.models.cancelled == 1)


async def test_a_stream_answers_in_the_order_of_its_requests(
    caller: Caller, client: InferenceServerClient, world: World
) -> None:
    world.models.gate.clear()
    requests = [request(id="slow"), request(b"no photo", id="bad"), request(id="last")]
    stream = GRPCInferenceServiceStub(caller.channel).ModelStreamInfer(iter(requests), timeout=PATIENCE)
    async with asyncio.timeout(PATIENCE):
        while not (await search_statistics(client)).fail.count:
            pass
    world.models.gate.set()
    answers = [answer async for answer in stream]
    assert [answer.infer_response.id for answer in answers] == ["slow", "bad", "last"]
    assert [answer.error_message.partition(":")[0] for answer in answers] == ["", "INVALID_IMAGE", ""]


async def test_the_figures_add_up(caller: Caller, client: InferenceServerClient, world: World) -> None:
    for photo in (RED_PHOTO, GREEN_PHOTO):
        await client.infer("search", inputs(photo))
    await caller.search(BOTH)
    world.models.fail(DependencyUnavailable("Triton does not answer"))
    with pytest.raises(InferenceServerException):
        await client.infer("search", inputs(RED_PHOTO))
    [search] = (await client.get_inference_statistics("search")).model_stats
    assert (search.inference_count, search.execution_count) == (3, 3)
    figures = search.inference_stats
    assert (figures.success.count, figures.fail.count) == (3, 1)
    assert figures.fail.ns > 0
    parts = [figures.queue, figures.compute_input, figures.compute_infer, figures.compute_output]
    assert all(part.count == 3 and part.ns > 0 for part in parts)
    assert sum(part.ns for part in parts) == pytest.approx(figures.success.ns, abs=100)

    config = (await client.get_model_config("search")).config
    everything = (await client.get_inference_statistics()).model_stats
    stages = {one.name: one.inference_stats for one in everything if one.name != "search"}
    assert list(stages) == [step.model_name for step in config.ensemble_scheduling.step]
    assert all(stage.success.count == 3 and stage.success.ns > 0 for stage in stages.values())
    for figure in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        of_stages = sum(getattr(stage, figure).ns for stage in stages.values())
        assert of_stages == pytest.approx(getattr(figures, figure).ns, abs=100)


async def test_the_queue_is_the_wait_for_admission(start: Callable[..., Any], world: World) -> None:
    caller = await start(search_in_flight=1, search_queue=1)
    world.models.gate.clear()
    async with client_of(caller) as client:
        searches = [asyncio.ensure_future(client.infer("search", inputs(RED_PHOTO))) for _ in range(3)]
        # The one that is refused tells that another one waits.
        [_], admitted = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED)
        waiting = time.perf_counter_ns()
        assert (await search_statistics(client)).queue.ns == 0
        waited = time.perf_counter_ns() - waiting
        world.models.gate.set()
        await asyncio.gather(*admitted)
        figures = await search_statistics(client)
    assert figures.queue.count == 2
    assert figures.queue.ns >= waited
