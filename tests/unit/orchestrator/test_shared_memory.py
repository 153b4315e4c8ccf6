"""Whose shared memory it is, and what becomes of it."""

import os
import signal
import subprocess
import sys

import pytest

from semblance.orchestrator.adapters import shared_memory

# Makes a region, says its name, and waits with it for the end.
MAKER = """
from semblance.orchestrator.adapters import shared_memory
name = shared_memory.new_name()
with shared_memory.named(name, 4096):
    print(name, flush=True)
    input()
"""


def test_a_region_has_a_name_only_inside() -> None:
    name = shared_memory.new_name()
    path = shared_memory.FOLDER / name
    with shared_memory.named(name, 4096) as memory:
        memory[:] = 7
        assert path.read_bytes() == bytes([7]) * 4096
    assert not path.exists()
    assert (memory == 7).all()


def test_a_region_without_room_is_refused_at_once() -> None:
    name = shared_memory.new_name()
    with pytest.raises(OSError, match=r"No space|too large"), shared_memory.named(name, 2**50):
        pass
    assert not (shared_memory.FOLDER / name).exists()


def test_what_a_killed_process_left_is_removed_and_nothing_else() -> None:
    with subprocess.Popen([sys.executable, "-c", MAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        name = maker.stdout.readline().decode().strip()
        path = shared_memory.FOLDER / name
        shared_memory.remove_stale()
        assert path.exists()
        assert not shared_memory.is_stale(name)
        maker.send_signal(signal.SIGKILL)
        maker.wait()
        assert path.exists()
        with shared_memory.named(shared_memory.new_name(), 4096) as _:
            mine = set(shared_memory.FOLDER.glob(f"{shared_memory.own_prefix()}*"))
            shared_memory.remove_stale()
            assert mine == set(shared_memory.FOLDER.glob(f"{shared_memory.own_prefix()}*")) != set()
        assert not path.exists()


@pytest.mark.parametrize(
    ("name", "stale"),
    [
        (f"{shared_memory.PREFIX}{os.getpid()}-1-0", True),
        (f"{shared_memory.PREFIX}{2**22 + 1}-1-0", True),
        (f"{shared_memory.PREFIX}1-{os.getpid()}-1-0", False),
        ("semblance-input-another-namespace-1-1-0", False),
        ("psm_0a1b", False),
    ],
)
def test_only_regions_of_ended_processes_of_this_namespace_are_stale(name: str, stale: bool) -> None:
    """The first has the number of a process that runs, and was started at another time."""
    assert shared_memory.is_stale(name) is stale
