"""Between the tensors of the protocol and a search."""

from collections.abc import Callable, Iterable, Sequence, Set

import numpy as np
from google.protobuf import json_format
from tritonclient.grpc import service_pb2

from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.grpc_edge import translate
from semblance.orchestrator.grpc_edge.kserve.signature import (
    BOX,
    IMAGE,
    INPUTS,
    ITEM_ID,
    MODEL,
    OPTIONS,
    OUTPUTS,
    SIMILARITY,
    VERSION,
    Tensor,
)
from semblance.orchestrator.pipeline import Answer, Query
from semblance.v1.search_pb2 import SearchOptions

# An element of a BYTES tensor is its length, four bytes little-endian, and then its bytes.
LENGTH_BYTES = 4
# perf_analyzer sends this with each request, to be told whether an answer is the last one to it.
MARK_FINAL = "triton_enable_empty_final_response"
FINAL = "triton_final_response"
# Options for which there is no output.
ANSWERLESS = ("include_attributes", "include_embeddings", "include_timings")


def query(request: service_pb2.ModelInferRequest) -> Query:
    """Raises InvalidArgument or InvalidFilter."""
    _refuse_parameters(request.parameters.keys() - {MARK_FINAL}, "the request")
    elements = _elements(request)
    if IMAGE.name not in elements:
        raise InvalidArgument(f"the input {IMAGE.name} is missing; give the bytes of a JPEG, PNG or WebP file in it")
    return translate.query(elements[IMAGE.name], _options(elements.get(OPTIONS.name, b"{}")))


def _options(text: bytes) -> SearchOptions:
    try:
        options = json_format.Parse(text, SearchOptions())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            f'the input {OPTIONS.name} is not semblance.v1.SearchOptions in JSON, such as {{"top_k": 5}}: {error}'
        ) from None
    for name in ANSWERLESS:
        if getattr(options, name):
            raise InvalidArgument(f"{name} asks for more than {MODEL} gives; use SearchService, or leave it out")
    return options


def _elements(request: service_pb2.ModelInferRequest) -> dict[str, bytes]:
    """The one element of each input, whose contents are all raw or all typed."""
    inputs = request.inputs
    raw = request.raw_input_contents
    if raw and len(raw) != len(inputs):
        raise InvalidArgument(
            f"{len(inputs)} inputs came with {len(raw)} raw_input_contents; give one for each, in the same order"
        )
    elements: dict[str, bytes] = {}
    for number, tensor in enumerate(inputs):
        _check_input(tensor)
        if tensor.name in elements:
            raise InvalidArgument(f"the input {tensor.name} is given twice")
        if raw and tensor.HasField("contents"):
            raise InvalidArgument(
                f"the input {tensor.name} has contents beside raw_input_contents; give one of the two"
            )
        elements[tensor.name] = _unframed(tensor.name, raw[number]) if raw else _typed(tensor)
    return elements


def _check_input(tensor: service_pb2.ModelInferRequest.InferInputTensor) -> None:
    expected = INPUTS.get(tensor.name)
    if expected is None:
        raise InvalidArgument(f"there is no input {tensor.name!r}; {MODEL} takes {', '.join(INPUTS)}")
    _refuse_parameters(tensor.parameters.keys(), f"the input {tensor.name}")
    if tensor.datatype != expected.datatype or tuple(tensor.shape) != expected.dims:
        raise InvalidArgument(
            f"the input {tensor.name} is {tensor.datatype} {list(tensor.shape)}, and must be "
            f"{expected.datatype} {list(expected.dims)}"
        )


def _unframed(name: str, raw: bytes) -> bytes:
    length = int.from_bytes(raw[:LENGTH_BYTES], "little")
    if len(raw) != LENGTH_BYTES + length:
        raise InvalidArgument(
            f"the input {name} has {len(raw):,} bytes, and its first four, the length of its one element in "
            f"little-endian, say {length:,}; expected {LENGTH_BYTES} + length"
        )
    return raw[LENGTH_BYTES:]


def _typed(tensor: service_pb2.ModelInferRequest.InferInputTensor) -> bytes:
    elements: Sequence[bytes] = tensor.contents.bytes_contents
    if len(elements) != 1:
        raise InvalidArgument(
            f"the input {tensor.name} has {len(elements)} elements in bytes_contents, and must have 1"
        )
    return elements[0]


def _refuse_parameters(parameters: Set[str], place: str) -> None:
    """Shared memory, classification, sequences, priorities and Triton's timeout come as parameters."""
    if parameters:
        raise InvalidArgument(
            f"{place} has parameters that are not supported here: {', '.join(sorted(parameters))}; leave them out "
            "(a request's time is bounded by the deadline of its call)"
        )


def wanted(request: service_pb2.ModelInferRequest) -> list[Tensor]:
    """The outputs that are asked for, all where none is named."""
    for output in request.outputs:
        if output.name not in OUTPUTS:
            raise InvalidArgument(f"there is no output {output.name!r}; {MODEL} gives {', '.join(OUTPUTS)}")
        _refuse_parameters(output.parameters.keys(), f"the output {output.name}")
    return [OUTPUTS[output.name] for output in request.outputs] or list(OUTPUTS.values())


def response(
    request: service_pb2.ModelInferRequest, outputs: Iterable[Tensor], top_k: int, answer: Answer
) -> service_pb2.ModelInferResponse:
    """With the release, the measure and whether nothing was detected as its parameters."""
    message = service_pb2.ModelInferResponse(model_name=MODEL, model_version=VERSION, id=request.id)
    message.parameters["release"].string_param = answer.release_id
    message.parameters["measure"].string_param = answer.measure
    message.parameters["nothing_detected"].bool_param = answer.description.nothing_detected
    if MARK_FINAL in request.parameters and request.parameters[MARK_FINAL].bool_param:
        message.parameters[FINAL].bool_param = True
    for tensor in outputs:
        shape, content = _ENCODERS[tensor](top_k, answer)
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        message.raw_output_contents.append(content)
    return message


Encoded = tuple[tuple[int, int], bytes]


def _item_ids(top_k: int, answer: Answer) -> Encoded:
    padding = bytes(LENGTH_BYTES)
    content = bytearray()
    for hits in answer.hits:
        for hit in hits:
            item_id = hit.item_id.encode()
            content += len(item_id).to_bytes(LENGTH_BYTES, "little") + item_id
        content += padding * (top_k - len(hits))
    return (len(answer.hits), top_k), bytes(content)


def _similarities(top_k: int, answer: Answer) -> Encoded:
    similarities = np.full((len(answer.hits), top_k), np.nan, "<f4")
    for row, hits in zip(similarities, answer.hits, strict=True):
        row[: len(hits)] = [hit.similarity for hit in hits]
    return (len(answer.hits), top_k), similarities.tobytes()


def _boxes(top_k: int, answer: Answer) -> Encoded:
    boxes = [region.box for region in answer.description.regions]
    return (len(boxes), 4), np.array([(box.x1, box.y1, box.x2, box.y2) for box in boxes], "<f4").tobytes()


_ENCODERS: dict[Tensor, Callable[[int, Answer], Encoded]] = {
    ITEM_ID: _item_ids,
    SIMILARITY: _similarities,
    BOX: _boxes,
}
