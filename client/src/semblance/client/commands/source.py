"""What there is to index: image files of folders, globs and single paths, and the rows of manifests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path, PurePath

from semblance.client.commands.entry import Entry, Problem
from semblance.client.commands.manifest import read_manifest

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_KINDS = "JPEG, PNG or WebP"
MANIFEST_SUFFIXES = frozenset({".csv", ".jsonl"})


def gather(paths: Iterable[str]) -> tuple[list[Entry], list[Problem]]:
    """The items that the paths tell of, each id once, and what is wrong with the rest."""
    first: dict[str, Entry] = {}
    clashes: set[str] = set()
    problems: list[Problem] = []
    for found in (found for path in paths for found in _found(path)):
        if isinstance(found, Problem):
            problems.append(found)
            continue
        other = first.setdefault(found.item_id, found)
        if (other.images, other.attributes) != (found.images, found.attributes):
            clashes.add(found.item_id)
            reason = f"item id {found.item_id!r} is also that of {other.where}; a manifest can name items freely"
            problems.append(Problem(found.where, reason))
    for item_id in clashes:
        problems.append(Problem(first[item_id].where, f"other sources have the same item id {item_id!r}"))
    return [entry for entry in first.values() if entry.item_id not in clashes], problems


def _found(path: str) -> Iterator[Entry | Problem]:
    named = Path(path)
    if named.is_dir():
        yield from _files(named, named.rglob("*"), f"no {_KINDS} file in this folder")
    elif named.exists() and named.suffix.lower() in MANIFEST_SUFFIXES:
        yield from read_manifest(named)
    elif named.exists():
        yield _entry(named, named.parent)
    elif has_magic(path):
        matches = map(Path, glob(path, recursive=True))
        yield from _files(_fixed_part(path), matches, f"no {_KINDS} file matches")
    else:
        yield Problem(path, "no such file or folder")


def _files(root: Path, candidates: Iterable[Path], otherwise: str) -> Iterator[Entry | Problem]:
    """The image files among the candidates, but for hidden ones."""
    files = sorted(
        path
        for path in candidates
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not _hidden(path.relative_to(root))
    )
    yield from (_entry(path, root) for path in files)
    if not files:
        yield Problem(str(root), otherwise)


def _entry(path: Path, root: Path) -> Entry:
    return Entry(str(path), path.relative_to(root).with_suffix("").as_posix(), (path,))


def _hidden(path: PurePath) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _fixed_part(pattern: str) -> Path:
    """The folders of a glob before its first wildcard."""
    parts = PurePath(pattern).parts[:-1]
    fixed = next((index for index, part in enumerate(parts) if has_magic(part)), len(parts))
    return Path(*parts[:fixed])
