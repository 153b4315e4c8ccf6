"""A small Label Studio: the calls that a push makes, answered as version 1.23 answers them, over real HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

PERSONAL, LEGACY = "head.body.signature", "0123456789abcdef"
PROJECT = 4


class LabelStudio:
    """What it holds.

    Attributes:
        url: where it is.
        access: what a personal token buys; another one after `expire`.
        tasks: as they were imported.
        files: uploads by the path that a task's image has.
        fail_imports_after: so many tasks are made before it breaks down; None never does.
    """

    def __init__(self, configuration: str) -> None:
        self.configuration = configuration
        self.url = ""
        self.access = "access-1"
        self.tasks: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.fail_imports_after: int | None = None
        self.answer: tuple[int, Any] | None = None

    def expire(self) -> None:
        self.access = f"access-{int(self.access.removeprefix('access-')) + 1}"


@contextmanager
def serving(configuration: str) -> Iterator[LabelStudio]:
    """On a free port, until the block ends."""
    studio = LabelStudio(configuration)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"studio": studio}))
    studio.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield studio
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    studio: LabelStudio

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Says nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        place = urlsplit(self.path)
        self.studio.calls.append(f"{self.command} {place.path}")
        status, content = self.studio.answer or self._answer(place.path, parse_qs(place.query), body)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 302:
            self.send_header("Location", "https://labels.example/")
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        studio = self.studio
        if path == "/api/token/refresh":
            bought = json.loads(body)["refresh"] == PERSONAL
            return (200, {"access": studio.access}) if bought else (401, {"detail": "Token is invalid"})
        if self.headers.get("Authorization") not in (f"Bearer {studio.access}", f"Token {LEGACY}"):
            return 401, {"detail": "Authentication credentials were not provided."}
        if path == f"/api/projects/{PROJECT}":
            return 200, {"id": PROJECT, "label_config": studio.configuration, "task_number": len(studio.tasks)}
        if path == "/api/tasks":
            size, page = int(query["page_size"][0]), int(query["page"][0])
            shown = studio.tasks[size * (page - 1) : size * page]
            if page > 1 and not shown:
                return 404, {"detail": "Invalid page."}
            return 200, {"total": len(studio.tasks), "tasks": shown}
        if path == f"/api/projects/{PROJECT}/import":
            return self._import(body, commits=query.get("commit_to_project") != ["false"])
        if found := re.fullmatch(r"/api/import/file-upload/(\d+)", path):
            return 200, {"id": int(found[1]), "file": list(studio.files)[int(found[1]) - 1].removeprefix("/data/")}
        return 404, {"detail": "No Project matches the given query."}

    def _import(self, body: bytes, commits: bool) -> tuple[int, Any]:
        studio = self.studio
        if not commits:
            message = message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body)
            (part,) = (each for each in message.walk() if not each.is_multipart())
            number = len(studio.files) + 1
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            studio.files[f"/data/upload/{PROJECT}/{number:08x}-{part.get_filename()}"] = payload
            return 201, {"task_count": 1, "file_upload_ids": [number], "data_columns": ["$undefined$"]}
        if studio.fail_imports_after is not None and len(studio.tasks) >= studio.fail_imports_after:
            return 500, {"detail": "out of order"}
        for task in json.loads(body):
            studio.tasks.append({"id": len(studio.tasks) + 1} | task)
        return 201, {"task_count": 1}
