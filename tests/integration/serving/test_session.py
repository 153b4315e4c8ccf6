"""The backend's session, opened by the backend's Python."""

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import helper

from semblance.serving.process import sibling_environment

SOURCES = Path(__file__).parents[3] / "serving" / "src"
# Opens a model with an accelerator, and says what its threads may do.
SCRIPT = """
import sys
from pathlib import Path
from semblance.serving.backend.session import open_session, provider
from semblance.serving.backend.settings import Settings

accelerators = {"cpu_execution_accelerator": [{"name": name} for name in sys.argv[2:]]}
config = {"max_batch_size": 8, "optimization": {"execution_accelerators": accelerators}, "parameters": {}}
settings = Settings.of(config | {"default_model_filename": ""}, "CPU")
options = open_session(Path(sys.argv[1]), settings).get_session_options()
print(*(options.get_session_config_entry(f"session.{kind}_op.allow_spinning") for kind in ("intra", "inter")))
print(provider(settings)[1]["load_config"] if settings.openvino else "")
"""


@pytest.fixture
def model(tmp_path: Path, graphs: SimpleNamespace) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graphs.scaling(2.0), opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def opened(model: Path, *accelerators: str) -> list[str]:
    """The script's lines."""
    answer = subprocess.run(
        [sibling_environment("triton", "setup") / "bin" / "python", "-c", SCRIPT, model, *accelerators],
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return answer.stdout.splitlines()


def test_threads_that_wait_leave_the_cores_to_others(model: Path) -> None:
    spinning, _ = opened(model)
    assert spinning == "0 0"


def test_threads_of_openvino_may_move_to_another_core(model: Path) -> None:
    _, settings = opened(model, "openvino")
    assert json.loads(settings)["CPU"]["ENABLE_CPU_PINNING"] == "NO"
