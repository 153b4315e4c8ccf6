import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from semblance.serving import state, triton
from semblance.serving.plan import Plan
from semblance.serving.process import StartError


def plan(data: Path, **changes: str) -> Plan:
    return replace(
        Plan("/models", str(data), "lite", "127.0.0.1:50051", 19530, triton.Ports(8000, 8001, 8002)),
        **changes,  # type: ignore[arg-type]
    )


def test_a_run_is_read_back(tmp_path: Path) -> None:
    me = state.Identity.of(os.getpid())
    run = state.Run(plan(tmp_path), me, "prefix").with_part(state.Part("Triton", me, me, "127.0.0.1:8001", "log"))
    state.write(run)
    assert state.read(tmp_path) == run
    state.remove(tmp_path)
    assert state.read(tmp_path) is None


def test_a_process_is_known_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        identity = state.Identity.of(child.pid)
        assert identity.process() == psutil.Process(child.pid)
        assert replace(identity, started=identity.started - 1).process() is None
        assert replace(identity, boot="another").process() is None
        child.kill()
        # Nobody has waited for it: it is a zombie, and no longer runs.
        psutil.wait_procs([], 0)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert identity.process() is None
    with pytest.raises(psutil.NoSuchProcess):
        state.Identity.of(child.pid)


HOLDER = """
import sys
from pathlib import Path

from semblance.serving import state

with state.held(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_data_folder_has_one_launcher(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-c", HOLDER, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StartError, match="another launcher holds"), state.held(tmp_path):
            pass
        other.kill()
    with state.held(tmp_path):
        pass


def test_a_plan_names_the_models_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "detector" / "1").mkdir(parents=True)
    (tmp_path / "embedder").mkdir()
    with pytest.raises(StartError, match="has no version of embedder; publish one first"):
        plan(tmp_path, repository=str(tmp_path)).check_models()
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(StartError, match=f"there is no model repository {elsewhere}; name yours with --repository"):
        plan(tmp_path, repository=str(elsewhere)).check_models()
