"""The page of the wire contract: what the `.proto` files define, with their comments."""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from docs.generate.table import table

PROTO = Path(__file__).resolve().parents[2] / "proto"
PACKAGE = "semblance.v1"

HEAD = f"""\
# API

<!-- Generated: change the .proto files, and `make references`. -->

Package `{PACKAGE}`, from the [`.proto` files](../../proto/semblance/v1), which are all that a client in another
language needs. The same port answers `grpc.health.v1.Health`, reflection, and [Triton's protocol](../kserve.md). What
errors look like is in [calling it](../calling.md#errors).

"""

# Where a definition is in its file's descriptor: numbers of fields and indices, as SourceCodeInfo has them.
Place = tuple[int, ...]
Comments = Mapping[Place, str]


@dataclass(frozen=True)
class Part:
    """A message or enum, with its name as callers write it: `SearchOptions.Objects`."""

    name: str
    place: Place
    definition: DescriptorProto | EnumDescriptorProto


def page() -> str:
    """The page's Markdown: each file's services, then its messages and enums; files with services come first."""
    files = sorted(_files(), key=lambda file: (not file.service, file.name))
    return HEAD + "\n".join(block for file in files for block in _of_file(file))


def _files() -> Sequence[FileDescriptorProto]:
    """The package's files as protoc reads them, with their comments."""
    well_known = Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder) / "descriptors"
        arguments = (f"--proto_path={PROTO}", f"--proto_path={well_known}", f"--descriptor_set_out={descriptors}")
        sources = sorted(map(str, PROTO.glob("semblance/v1/*.proto")))
        if status := protoc.main(["protoc", *arguments, "--include_source_info", *sources]):
            sys.exit(f"protoc failed with status {status}")
        return FileDescriptorSet.FromString(descriptors.read_bytes()).file


def _of_file(file: FileDescriptorProto) -> Iterator[str]:
    comments = {
        tuple(location.path): _unwrapped(location.leading_comments or location.trailing_comments)
        for location in file.source_code_info.location
    }
    yield f"## {Path(file.name).name}\n\n{comments[(FileDescriptorProto.SYNTAX_FIELD_NUMBER,)]}\n"
    for number, service in enumerate(file.service):
        yield _service(service, (FileDescriptorProto.SERVICE_FIELD_NUMBER, number), comments)
    for part in _parts(file):
        yield _message(part, comments) if isinstance(part.definition, DescriptorProto) else _enum(part, comments)


def _parts(file: FileDescriptorProto) -> Iterator[Part]:
    for number, message in enumerate(file.message_type):
        yield from _with_nested(message, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, number), "")
    for number, enum in enumerate(file.enum_type):
        yield Part(enum.name, (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, number), enum)


def _with_nested(message: DescriptorProto, place: Place, prefix: str) -> Iterator[Part]:
    name = prefix + message.name
    yield Part(name, place, message)
    for number, enum in enumerate(message.enum_type):
        yield Part(f"{name}.{enum.name}", (*place, DescriptorProto.ENUM_TYPE_FIELD_NUMBER, number), enum)
    for number, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _with_nested(nested, (*place, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, number), f"{name}.")


def _service(service: ServiceDescriptorProto, place: Place, comments: Comments) -> str:
    methods = [
        (
            f"`{method.name}`",
            *_request_and_response(method),
            comments.get((*place, ServiceDescriptorProto.METHOD_FIELD_NUMBER, number), ""),
        )
        for number, method in enumerate(service.method)
    ]
    return (
        f"### {service.name}\n\n{_paragraph(comments, place)}"
        f"{table(('method', 'request', 'response', 'meaning'), methods)}"
    )


def _request_and_response(method: MethodDescriptorProto) -> tuple[str, str]:
    request, response = _link(method.input_type), _link(method.output_type)
    return (
        f"stream of {request}" if method.client_streaming else request,
        f"stream of {response}" if method.server_streaming else response,
    )


def _message(part: Part, comments: Comments) -> str:
    message = part.definition
    assert isinstance(message, DescriptorProto)
    head = f"### {part.name}\n\n{_paragraph(comments, part.place)}"
    if not message.field:
        return f"{head}No fields.\n"
    fields = [
        (
            str(field.number),
            f"`{field.name}`",
            _type(field, message),
            comments.get((*part.place, DescriptorProto.FIELD_FIELD_NUMBER, number), ""),
        )
        for number, field in enumerate(message.field)
    ]
    return head + table(("", "field", "type", "meaning"), fields)


def _enum(part: Part, comments: Comments) -> str:
    enum = part.definition
    assert isinstance(enum, EnumDescriptorProto)
    values = [
        (
            str(value.number),
            f"`{value.name}`",
            comments.get((*part.place, EnumDescriptorProto.VALUE_FIELD_NUMBER, number), ""),
        )
        for number, value in enumerate(enum.value)
    ]
    return f"### {part.name}\n\n{_paragraph(comments, part.place)}{table(('', 'value', 'meaning'), values)}"


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """As the `.proto` file has it; `one of` names the choice that a field belongs to."""
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            key, value = (_plain(each) for each in nested.field)
            return f"map of {key} to {value}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {_plain(field)}"
    if field.proto3_optional:
        return f"optional {_plain(field)}"
    if field.HasField("oneof_index"):
        return f"{_plain(field)}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return _plain(field)


def _plain(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _link(field.type_name)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _link(type_name: str) -> str:
    """A type of this package as a link to its heading, another one by its full name."""
    name = type_name.removeprefix(".")
    ours = name.removeprefix(f"{PACKAGE}.")
    return f"`{name}`" if ours == name else f"[{ours}](#{ours.replace('.', '').lower()})"


def _paragraph(comments: Comments, place: Place) -> str:
    return f"{text}\n\n" if (text := comments.get(place, "")) else ""


def _unwrapped(comment: str) -> str:
    return " ".join(comment.split())
