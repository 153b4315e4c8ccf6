"""A project of a running Label Studio, by its HTTP API.

Reference: https://api.labelstud.io. A key is a personal access token (a JSON web token, which buys access for some
minutes) or a legacy token, which Label Studio takes where its administrators let it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self, TypeVar

import requests
from pydantic import Field

from semblance.training.dataset.dataset import DatasetError
from semblance.training.dataset.preannotation import DIGEST_KEY
from semblance.training.dataset.source import Record, parse

KEY_VARIABLE = "LABEL_STUDIO_API_KEY"

TIMEOUT = 60.0
"""Seconds that the server may be silent: it answers an import when it has stored it."""

PAGE = 100
"""Tasks asked for at once."""


class Configured(Record):
    """A project."""

    label_config: str


class Listed(Record):
    """A task among others."""

    data: dict[str, Any]


class Page(Record):
    """Some of a project's tasks; `total` counts all."""

    total: int
    tasks: list[Listed]


class Uploads(Record):
    """What an upload gives."""

    file_upload_ids: Annotated[list[int], Field(min_length=1)]


class Stored(Record):
    """An uploaded file; `file` is its path below /data/."""

    file: str


class Access(Record):
    """What a personal access token buys."""

    access: str


R = TypeVar("R", bound=Record)


class ProjectError(DatasetError):
    """Label Studio can't be reached, or refuses; the text says what to do."""


class Project:
    """A project, and what is done with it here.

    Args:
        url: of Label Studio, such as https://labels.example.
        number: the project's, as in its address.
        key: of a user who may change the project.
    """

    def __init__(self, url: str, number: int, key: str) -> None:
        self._url, self._number, self._key = url.rstrip("/"), number, key
        self._session = requests.Session()
        if not self._buys_access:
            self._session.headers["Authorization"] = f"Token {key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close()

    def configuration(self) -> str:
        """The labelling configuration, XML."""
        return self._call(Configured, "GET", f"projects/{self._number}").label_config

    def digests(self) -> set[str]:
        """SHA-256 of the photos that there are tasks for, as far as their data says so."""
        return {digest for task in self._tasks() if isinstance(digest := task.data.get(DIGEST_KEY), str)}

    def upload(self, photo: Path) -> str:
        """Stores a photo in the project without making a task; returns the address for a task's data."""
        with photo.open("rb") as file:
            uploads = self._call(
                Uploads,
                "POST",
                f"projects/{self._number}/import",
                params={"commit_to_project": "false"},
                # One file a call, and its content is read once: so that the call can be made again, it is bytes.
                files={photo.name: (photo.name, file.read())},
            )
        stored = self._call(Stored, "GET", f"import/file-upload/{uploads.file_upload_ids[0]}")
        return f"/data/{stored.file}"

    def create(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Makes tasks, predictions included."""
        self._call(Record, "POST", f"projects/{self._number}/import", json=list(tasks))

    def _tasks(self) -> Iterator[Listed]:
        page, seen = 1, 0
        while True:
            asked = {"project": self._number, "page": page, "page_size": PAGE, "fields": "task_only"}
            answer = self._call(Page, "GET", "tasks", params=asked)
            yield from answer.tasks
            seen += len(answer.tasks)
            # A page beyond the last is "not found".
            if seen >= answer.total or not answer.tasks:
                return
            page += 1

    @property
    def _buys_access(self) -> bool:
        return self._key.count(".") == 2

    def _call(self, expected: type[R], method: str, path: str, **arguments: Any) -> R:
        """One call; where access has run out, it is bought again, once."""
        answer = self._send(method, path, **arguments)
        if answer.status_code == requests.codes.unauthorized and self._buys_access:
            bought = self._content(Access, self._send("POST", "token/refresh", json={"refresh": self._key}))
            self._session.headers["Authorization"] = f"Bearer {bought.access}"
            answer = self._send(method, path, **arguments)
        return self._content(expected, answer)

    def _send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            # A redirection would turn a POST into a GET.
            return self._session.request(
                method, f"{self._url}/api/{path}", timeout=TIMEOUT, allow_redirects=False, **arguments
            )
        except requests.RequestException as error:
            raise ProjectError(f"Label Studio can't be reached at {self._url}: {error}") from error

    def _content(self, expected: type[R], answer: requests.Response) -> R:
        if answer.is_redirect:
            raise ProjectError(f"{self._url} sends on to {answer.headers['Location']}; give that address as --url")
        if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            raise ProjectError(f"Label Studio at {self._url} refuses the key in {KEY_VARIABLE}: {_detail(answer)}")
        if answer.status_code == requests.codes.not_found:
            raise ProjectError(f"Label Studio at {self._url} has no project {self._number}: {_detail(answer)}")
        if not answer.ok:
            raise ProjectError(f"Label Studio at {self._url} answers {answer.status_code}: {_detail(answer)}")
        try:
            content = answer.json()
        except requests.JSONDecodeError as error:
            raise ProjectError(f"{self._url} answers with something else than JSON; is it Label Studio?") from error
        return parse(expected, content, f"the answer of {answer.request.method} {answer.url}")


def _detail(answer: requests.Response) -> str:
    try:
        content = answer.json()
    except requests.JSONDecodeError:
        return answer.reason
    if not isinstance(content, dict):
        return answer.reason
    return str(content.get("validation_errors") or content.get("detail") or answer.reason)
