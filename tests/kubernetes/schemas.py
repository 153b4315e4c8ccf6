"""The objects against the schemas of Kubernetes, and of the operators whose resources they are.

Kubernetes' come from kubernetes-validate, which has those of each version; they refuse fields that are unknown.
The operators' are in `schemas/`: the part of each that is used here, and nothing else is let through.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from kubernetes_validate import utils
from referencing import Registry, Resource

from tests.kubernetes.built import Built, Object, label

# The oldest and the newest that it is to be applied to.
VERSIONS = ("1.31", "1.37")
OPERATORS = Path(__file__).resolve().parent / "schemas"


def problems(built: Built) -> Iterator[str]:
    for folder, each in built.objects():
        for version in VERSIONS:
            yield from (f"{folder}: {label(each)}: {problem}" for problem in of(each, version))


def of(each: Object, version: str) -> Iterator[str]:
    """What the API server of this version would refuse, or drop."""
    own = OPERATORS / f"{each['kind'].lower()}.json"
    found = jsonschema.Draft202012Validator(json.loads(own.read_text())) if own.exists() else kubernetes(each, version)
    if found is None:
        yield f"Kubernetes {version} has no {each['kind']} in {each['apiVersion']}"
        return
    for error in found.iter_errors(each):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message}"


def kubernetes(each: Object, version: str) -> Any | None:
    group = each["apiVersion"].replace("/", "-").split("-")
    name = "-".join([group[0].split(".")[0], *group[1:]])
    try:
        return _validator(f"{each['kind'].lower()}-{name}.json", version)
    except FileNotFoundError:
        return None


@cache
def _validator(file: str, version: str) -> Any:
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    schema = Resource.from_contents(utils.schema_contents(f"{folder}/{file}", version))
    registry = schema @ (_definitions(folder, version) @ Registry())
    return jsonschema.Draft202012Validator(schema.contents, registry=registry)


@cache
def _definitions(folder: str, version: str) -> Any:
    return Resource.from_contents(utils.schema_contents(f"{folder}/_definitions.json", version))
