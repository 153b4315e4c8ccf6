"""What the library may import."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules |= dict.fromkeys({names!r}); {code}"


def run(code: str, *absent: str) -> subprocess.CompletedProcess[str]:
    program = WITHOUT.format(names=absent, code=code)
    return subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, timeout=60)


def test_the_library_needs_grpc_and_protobuf_only() -> None:
    done = run("import semblance.client", "click", "rich", "PIL", "numpy", "grpc_status")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("absent", ["click", "rich", "PIL"])
def test_the_command_says_what_to_install(absent: str) -> None:
    hide = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == {0!r} else f(n, *a)"
    done = run(f"{hide.format(absent)}; from semblance.client.command import main; main()")
    assert done.returncode == 1
    assert "pip install 'semblance-client[cli]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_and_search_import_no_other_command() -> None:
    code = (
        "from click.testing import CliRunner; from semblance.client.commands.group import semblance;"
        "out = CliRunner().invoke(semblance, ['--help']).output; assert 'up' in out and 'export' in out, out;"
        "CliRunner().invoke(semblance, ['search', '--help']);"
        "loaded = [n for n in sys.modules if n.startswith('semblance.') and n.endswith('.command')];"
        "assert not loaded, loaded; assert 'numpy' not in sys.modules and 'torch' not in sys.modules"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
