"""docs/calling.md: its programs run as they stand, and its table of errors is the service's and the client's."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from semblance.client._errors import BY_REASON
from semblance.client.testing import FakeSemblance
from semblance.orchestrator.grpc_edge.status import TABLE

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "calling.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def jpeg(colour: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (colour, 99, 0)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the programs name."""
    named = (*re.findall(r'"(\w+\.jpg)"', PAGE), *(f"{number}.jpg" for number in range(100)), "photos/d.jpg")
    (tmp_path / "photos").mkdir()
    for colour, name in enumerate(dict.fromkeys(named)):
        (tmp_path / name).write_bytes(jpeg(colour))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("photos")
def test_the_programs_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(PROGRAMS) >= 7
    with FakeSemblance() as service:
        for program in PROGRAMS:
            here = program.replace('"127.0.0.1:50051"', repr(service.target)).replace(
                "Client()", f"Client({service.target!r})"
            )
            names: dict[str, Any] = {}
            exec(compile(here, "calling.md", "exec"), names)
            for test in (value for name, value in names.items() if name.startswith("test_")):
                test()
    assert "failed" not in capsys.readouterr().out
    assert service.received["SearchStream"] == 1
    assert service.received["Put"] == 101


def test_the_table_of_errors_is_the_services_and_the_clients() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (`\w+` \| `\w+`) \|", PAGE, re.MULTILINE))
    statuses = {reason: status.name for status, reason in TABLE.values()}
    assert rows == {
        reason: f"`{statuses.get(reason, reason)}` | `{error.__name__}`" for reason, error in BY_REASON.items()
    }
