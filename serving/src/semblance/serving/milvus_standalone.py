"""The files of the real Milvus standalone server: its programs, unpacked from the wheel, and a small configuration.

The wheel's own launcher is not used: its programs are unpacked anew for every data folder, its embedded etcd always
takes the ports 2379 and 2380, so that there can be only one on a host, and the server is its child, which outlives it.
"""

import json
import lzma
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from semblance.serving import ports as tcp

# They talk to each other by TCP, in one process all the same.
COMPONENTS = ("rootCoord", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode")
# etcd talks to nobody but the server around it, and wants addresses with a port: these name sockets in its folder.
ETCD_CLIENT = "unix://etcd-client:1"
ETCD_PEER = "unix://etcd-peer:1"
SESSION_SECONDS = 10


def unpack(environment: Path) -> Path:
    """The folder of the wheel's programs and libraries; they are unpacked in the environment, once.

    `environment` is the one with the wheel, `.venv/milvus`.
    """
    target = environment / "milvus-2.3.5"
    if not target.is_dir():
        aside = Path(tempfile.mkdtemp(dir=environment))
        for packed in (data(environment) / "bin").glob("*.lzma"):
            with lzma.open(packed) as source, (aside / packed.stem).open("wb") as program:
                shutil.copyfileobj(source, program)
            (aside / packed.stem).chmod(0o755)
        try:
            aside.rename(target)
        except OSError:
            # Somebody else was faster.
            shutil.rmtree(aside)
    return target


def data(environment: Path) -> Path:
    return next(environment.glob("lib/python3.*/site-packages/milvus/data"))


def configure(home: Path, environment: Path, port: int) -> None:
    """Writes the configuration that the server reads from `configs` in its working folder `home`.

    JSON is YAML. Everything that is not said here is Milvus' default.
    """
    configs = home / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    etcd = configs / "etcd.yaml"
    (configs / "milvus.yaml").write_text(json.dumps(server_settings(home, etcd, port), indent=2))
    etcd.write_text(json.dumps(ETCD, indent=2))
    shutil.copy(data(environment) / "glog.conf", configs)


ETCD = {
    "data-dir": "etcd",
    "listen-client-urls": ETCD_CLIENT,
    "advertise-client-urls": ETCD_CLIENT,
    "listen-peer-urls": ETCD_PEER,
    "initial-advertise-peer-urls": ETCD_PEER,
    "initial-cluster": f"default={ETCD_PEER}",
    "log-level": "error",
}


def server_settings(home: Path, etcd: Path, port: int) -> dict[str, Any]:
    internal, *component_ports = tcp.free(1 + len(COMPONENTS))
    return {
        "etcd": {"use": {"embed": True}, "data": {"dir": "etcd"}, "config": {"path": str(etcd)}},
        "mq": {"type": "rocksmq"},
        "rocksmq": {"path": str(home / "rocksmq")},
        # The components of a killed server hold their places until their sessions expire: the default of 30 s
        # makes the next start take 80 s.
        "common": {"storageType": "local", "session": {"ttl": SESSION_SECONDS}},
        "localStorage": {"path": str(home / "storage")},
        "log": {"level": "warn"},
        "quotaAndLimits": {"enabled": True},
        "proxy": {"ip": tcp.LOOPBACK, "port": port, "internalPort": internal},
        **{
            component: {"ip": tcp.LOOPBACK, "port": one}
            for component, one in zip(COMPONENTS, component_ports, strict=True)
        },
    }


def variables(binaries: Path, metrics_port: int) -> dict[str, str]:
    return dict(os.environ) | {
        "DEPLOY_MODE": "STANDALONE",
        "LD_LIBRARY_PATH": str(binaries),
        "METRICS_PORT": str(metrics_port),
    }
