"""Where the photos are that an export names by path, upload name or address."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from semblance.training.dataset.photo import SUFFIXES

LOCAL_FILES = "/data/local-files/"
"""Label Studio's address of a file that it serves from its own host: the path is the query's `d`."""

TRIED = tuple(each for suffix in sorted(SUFFIXES) for each in (suffix, suffix.upper()))
"""Suffixes that a stem may have."""

_UPLOADED = re.compile(r"[0-9a-f]{8}-(?P<name>.+)", re.DOTALL)
"""Label Studio sets eight hexadecimal digits before an uploaded file's name."""


@dataclass(frozen=True)
class Locations:
    """Finds files by what an export calls them.

    Attributes:
        root: the export's own folder.
        folders: where the user says that photos are.
        prefixes: folders by the beginnings of addresses that they stand for.
    """

    root: Path
    folders: Sequence[Path] = ()
    prefixes: Mapping[str, Path] = field(default_factory=dict)

    def find(self, reference: str) -> Path | None:
        """The file, or None where there is none in any of the places.

        A reference without a photo's suffix is the stem of one, as YOLO's label files have it.
        """
        suffixes = ("",) if PurePosixPath(reference.partition("?")[0]).suffix.lower() in SUFFIXES else ("", *TRIED)
        for candidate in self._candidates(reference):
            for suffix in suffixes:
                path = candidate.with_name(candidate.name + suffix) if suffix and candidate.name else candidate
                try:
                    if path.is_file():
                        return path
                except (OSError, ValueError):
                    # No file has such a name: too long, or with a zero in it.
                    continue
        return None

    def _candidates(self, reference: str) -> Iterator[Path]:
        """Best first: by prefix, as it stands, then below each folder with ever fewer of its leading folders."""
        prefixes = [prefix for prefix in self.prefixes if reference.startswith(prefix)]
        if prefixes:
            prefix = max(prefixes, key=len)
            rest = reference.removeprefix(prefix)
            for name in dict.fromkeys((rest, unquote(rest), unquote(rest.partition("?")[0]))):
                yield self.prefixes[prefix] / name.lstrip("/")
            return
        for name in _paths(reference):
            path = PurePosixPath(name)
            if not _is_address(reference):
                yield self.root / path
            parts = [part for part in path.parts if part not in ("/", "..")]
            for folder in (*self.folders, self.root, self.root / "images"):
                for start in range(len(parts)):
                    yield folder.joinpath(*parts[start:])
                if parts and (uploaded := _UPLOADED.fullmatch(parts[-1])):
                    yield folder / uploaded["name"]


def _is_address(reference: str) -> bool:
    return "://" in reference or reference.startswith("/data/")


def _paths(reference: str) -> Iterator[str]:
    """The paths that a reference may mean, as written first."""
    if reference.startswith(LOCAL_FILES):
        yield from parse_qs(urlsplit(reference).query).get("d", [])
    elif _is_address(reference):
        path = reference.partition("://")[2].partition("?")[0] or reference
        yield from dict.fromkeys((path, unquote(path)))
    else:
        # Exports of Windows have its separator.
        yield from dict.fromkeys((reference, reference.replace("\\", "/"), unquote(reference)))
