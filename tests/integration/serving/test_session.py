"""The backend's session, opened by the backend's Python."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import onnx
from onnx import helper

from semblance.serving.process import sibling_environment

SOURCES = Path(__file__).parents[3] / "serving" / "src"
SCRIPT = """
import sys
from pathlib import Path
from semblance.serving.backend.session import open_session
from semblance.serving.backend.settings import Settings

config = {"max_batch_size": 8, "optimization": {}, "parameters": {}, "default_model_filename": ""}
options = open_session(Path(sys.argv[1]), Settings.of(config, "CPU")).get_session_options()
print(*(options.get_session_config_entry(f"session.{kind}_op.allow_spinning") for kind in ("intra", "inter")))
"""


def test_threads_that_wait_leave_the_cores_to_others(tmp_path: Path, graphs: SimpleNamespace) -> None:
    model = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graphs.scaling(2.0), opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    answer = subprocess.run(
        [sibling_environment("triton", "setup") / "bin" / "python", "-c", SCRIPT, model],
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout.split() == ["0", "0"]
