"""The objects that `kubectl apply -k` would send."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KUBECTL = Path(sys.executable).parent.parent / "packages" / "bin" / "kubectl"
# What is applied.
APPLIED = ("overlays/production", "overlays/kind", "milvus")

Object = dict[str, Any]


class BuildError(Exception):
    """Kustomize's own words."""


@dataclass(frozen=True)
class Built:
    """The objects of each folder that is applied, by its path in deploy/kubernetes."""

    folders: Mapping[str, list[Object]]

    @classmethod
    def of(cls, folder: Path = FOLDER) -> Self:
        return cls({name: kustomize(folder / name) for name in APPLIED})

    def objects(self) -> Iterator[tuple[str, Object]]:
        """Each with the folder that it is of."""
        for name, objects in self.folders.items():
            yield from ((name, each) for each in objects)


def kustomize(folder: Path) -> list[Object]:
    """Raises BuildError where Kustomize does not take it."""
    done = subprocess.run([KUBECTL, "kustomize", folder], text=True, capture_output=True)
    if done.returncode or done.stderr:
        raise BuildError(f"{folder.name}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def label(each: Object) -> str:
    return f"{each['kind']} {each['metadata']['name']}"
