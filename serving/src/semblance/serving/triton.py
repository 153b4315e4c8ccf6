"""NVIDIA Triton from its PyPI wheel, with our Python-based `onnxruntime` backend."""

import json
import os
import shutil
import sysconfig
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from semblance.serving import backend, proof
from semblance.serving import ports as tcp
from semblance.serving.process import Process, sibling_environment
from semblance.serving.process import running as process_running

READY_SECONDS = 60.0
# A load compiles the graph (OpenVINO) and runs the warm-up; both take longer while cores are shared.
LOAD_SECONDS = 300.0
# Triton finishes what is in flight, and then we finish Triton.
DRAIN_SECONDS = 10
GRACE_SECONDS = 20.0
# Python stubs and server exchange tensors in a region per model instance, which starts at the one size and grows by
# the other: 32 MiB hold a batch of 16 images of 640 x 640 x 3 bytes, with their outputs.
SHARED_MEMORY_BYTES = 32 << 20
SHARED_MEMORY_GROWTH_BYTES = 16 << 20
SHARED_MEMORY = Path("/dev/shm")
STUB_TIMEOUT_SECONDS = 120
# Of so many requests that bring no trace with them, one is traced: the most that Triton takes.
NO_TRACES_OF_ITS_OWN = 2**31 - 1


@dataclass(frozen=True)
class Ports:
    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002

    @classmethod
    def free(cls) -> "Ports":
        return cls(*tcp.free(3))


@dataclass(frozen=True)
class Triton:
    """A running tritonserver."""

    process: Process
    ports: Ports
    host: str = tcp.LOOPBACK

    @property
    def grpc(self) -> str:
        return f"{self.host}:{self.ports.grpc}"

    @property
    def http(self) -> str:
        return f"{self.host}:{self.ports.http}"

    @property
    def metrics(self) -> str:
        return f"{self.host}:{self.ports.metrics}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> Path:
        return self.process.log

    def load(self, name: str, config: Mapping[str, Any] | None = None) -> None:
        """Loads a model through the model-control API, with `config` in place of its config.pbtxt if given.

        Every version that becomes ready is proved whole by real inferences; see `proof`.

        Raises:
            StartError: Triton refused the model, with its reason, or an output is not whole.
        """
        with InferenceServerClient(self.grpc) as client:
            try:
                client.load_model(name, config=json.dumps(config) if config else None, client_timeout=LOAD_SECONDS)
                proof.prove(client, name)
            except (InferenceServerException, proof.BrokenOutput) as error:
                raise self.process.error(f"can't serve {name}: {error}") from error


@contextmanager
def running(
    repository: Path,
    folder: Path,
    *,
    host: str = tcp.LOOPBACK,
    ports: Ports | None = None,
    models: Sequence[str] | None = None,
    shared_memory_prefix: str | None = None,
    log: Path | None = None,
    traces: str = "",
) -> Iterator[Triton]:
    """Runs Triton over a model repository, loads `models` (None: all of it) and proves them.

    Args:
        folder: for its log and the links it needs.
        host: the address that it listens on.
        ports: None takes free ones.
        shared_memory_prefix: begins the names of its shared memory; whoever restarts after a crash removes by it.
        traces: where its traces go, a URL of OTLP over HTTP; empty for none.

    Raises:
        StartError: the environment is not there, Triton did not start, or a model did not load.
    """
    ports = ports or Ports.free()
    prefix = shared_memory_prefix or f"semblance_{uuid.uuid4().hex}_"
    environment = sibling_environment("triton", "setup")
    prepare(folder, repository, environment)
    try:
        with process_running(
            "Triton",
            [
                package(environment) / "tritonserver" / "bin" / "tritonserver",
                *options(host, ports, prefix),
                *trace_options(traces),
            ],
            log=log or folder / "triton.log",
            environment=variables(environment),
            folder=folder,
            grace=GRACE_SECONDS,
        ) as process:
            triton = Triton(process, ports, host)
            process.wait_until(lambda: is_ready(triton.grpc), READY_SECONDS)
            for name in model_names(repository) if models is None else models:
                triton.load(name)
            yield triton
    finally:
        remove_shared_memory(prefix)


def model_names(repository: Path) -> list[str]:
    return sorted(config.parent.name for config in repository.glob("*/config.pbtxt"))


def package(environment: Path) -> Path:
    """The folder of the wheel's package in the environment."""
    return next(environment.glob("lib/python3.*/site-packages/pytriton"))


def prepare(folder: Path, repository: Path, environment: Path) -> None:
    """Puts the two backends beside each other as Triton wants them.

    `backends/python` is the wheel's Python backend with the stub of our Python: copies, because Triton refuses a
    library that a link leads out of the backend directory to. `backends/onnxruntime` is ours. Triton starts stubs
    by an unquoted shell command with the paths of backend and model in it, so that it gets paths relative to
    `folder`, where `models` is the repository: any name of a folder above will do.
    """
    wheel = package(environment) / "tritonserver"
    version = package(environment).parents[1].name.removeprefix("python")
    backends = folder / "backends"
    shutil.rmtree(backends, ignore_errors=True)
    python = backends / "python"
    python.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        shutil.copy2(wheel / "backends" / "python" / name, python)
    shutil.copy2(wheel / "python_backend_stubs" / version / "triton_python_backend_stub", python)
    ours = backends / "onnxruntime"
    modules = ours / "semblance" / "serving"
    modules.mkdir(parents=True)
    source = Path(backend.__file__).parent
    shutil.copy2(source / "model.py", ours)
    (modules / "backend").symlink_to(source)
    models = folder / "models"
    models.unlink(missing_ok=True)
    models.symlink_to(repository.absolute())


def variables(environment: Path) -> dict[str, str]:
    """The process environment: the stub finds its Python by `python3` on PATH, and its libpython as a library."""
    libraries = [
        str(package(environment).parent / "nvidia_pytriton.libs"),
        sysconfig.get_config_var("LIBDIR"),
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return inherited | {
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def options(host: str, ports: Ports, shared_memory_prefix: str) -> list[str]:
    stub = {
        "shm-region-prefix-name": shared_memory_prefix,
        "shm-default-byte-size": SHARED_MEMORY_BYTES,
        "shm-growth-byte-size": SHARED_MEMORY_GROWTH_BYTES,
        "stub-timeout-seconds": STUB_TIMEOUT_SECONDS,
    }
    return [
        "--model-repository=models",
        "--backend-directory=backends",
        "--model-control-mode=explicit",
        # Configs are complete; completing them would start a stub more for each load.
        "--disable-auto-complete-config",
        f"--http-address={host}",
        f"--http-port={ports.http}",
        f"--grpc-address={host}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={host}",
        f"--metrics-port={ports.metrics}",
        f"--exit-timeout-secs={DRAIN_SECONDS}",
        *(f"--backend-config=python,{name}={value}" for name, value in stub.items()),
    ]


def trace_options(url: str) -> list[str]:
    """Triton goes on with the traces of who calls it, and begins none of its own; without a URL it does neither."""
    if not url:
        return []
    settings = (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        f"rate={NO_TRACES_OF_ITS_OWN}",
        f"opentelemetry,url={url}",
        "opentelemetry,resource=service.name=triton",
    )
    return [f"--trace-config={setting}" for setting in settings]


def is_ready(address: str) -> bool:
    """Whether Triton answers at an address, whatever it serves."""
    with InferenceServerClient(address) as client:
        try:
            return bool(client.is_server_ready(client_timeout=1.0))
        except (InferenceServerException, grpc.RpcError):
            return False


def remove_shared_memory(prefix: str) -> None:
    """Removes what a killed Triton left in shared memory."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)
