"""What an operator may set: flags of `semblance serve`, which win, `SEMBLANCE_*` variables, or files of secrets.

A container is given its secrets as files in /run/secrets: `semblance_milvus_token` there is what SEMBLANCE_MILVUS_TOKEN
would be.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from semblance.orchestrator.address import is_loopback, split

PREFIX = "SEMBLANCE_"
SECRETS = Path("/run/secrets")

# Read by the client's commands, which may share an environment with the service.
CLIENT_VARIABLES = frozenset(
    {
        "SEMBLANCE_TARGET",
        "SEMBLANCE_TLS",
        "SEMBLANCE_CA",
        "SEMBLANCE_CLIENT_CERTIFICATE",
        "SEMBLANCE_CLIENT_KEY",
        "SEMBLANCE_TOKEN",
        "SEMBLANCE_TOKEN_FILE",
    }
)


class SettingsError(Exception):
    """A setting is unknown or its value is not what it should be. One line for each."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    listen: str = Field("127.0.0.1:50051", description="Address and port that the service listens on.")
    tls_certificate: str = Field("", description="PEM file of the certificate chain to show; empty: no TLS.")
    tls_key: str = Field("", description="PEM file of that certificate's key, unencrypted.")
    tls_client_ca: str = Field(
        "",
        description="PEM file of the CAs one of which must have signed what callers show (mTLS); empty: none is asked.",
    )
    callers: str = Field(
        "", description="File of the callers with their tokens and roles, see `semblance token`; empty: anybody."
    )
    insecure_listen: bool = Field(
        False,
        description="Listen beyond this host without TLS or without callers: whoever reaches the port may do anything.",
    )
    health_listen: str = Field(
        "",
        description="Address and port of health alone, without TLS and tokens, for probes that have none; empty: none.",
    )
    metrics_listen: str = Field(
        "",
        description="Address and port of the metrics, for Prometheus, such as 127.0.0.1:9464; without TLS and tokens; "
        "empty: none. Of several workers each has a port of its own, from this one on.",
    )
    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^/\s]+)?$",
        description="Collector of traces, spoken to in OTLP over gRPC: http://host:4317, or https:// with TLS; empty: "
        "there are none.",
    )
    trace_share: float = Field(
        0.01, ge=0, le=1, description="Part of the requests that are traced whose callers send no traceparent."
    )
    workers: int = Field(
        1, ge=1, le=256, description="Processes that share the port; limits of requests and threads are of each."
    )
    triton_url: str = Field(
        "127.0.0.1:8001",
        pattern=r"^[^,\s]+(,[^,\s]+)*$",
        description="Triton's gRPC endpoint, host:port; several that serve the same models are separated by commas.",
    )
    transport: Literal["auto", "shared_memory", "bytes"] = Field(
        "auto",
        description="How pictures reach Triton: shared_memory, bytes (in the message), or auto: shared memory where "
        "Triton is on this host and takes it.",
    )
    milvus_uri: str = Field("http://127.0.0.1:19530", description="Milvus' endpoint.")
    milvus_token: SecretStr = Field(SecretStr(""), description="Milvus' token, user:password or an API key.")
    metadata_url: str = Field(
        "sqlite:///.semblance/metadata.db",
        repr=False,
        description="The metadata store: sqlite:///file or postgresql+psycopg://user:password@host/database; with a "
        "password only by the variable.",
    )
    image_store: str = Field(
        "file://.semblance/images", description="The image store: file://folder or s3://bucket/prefix."
    )
    model_repository: str = Field(
        "model_repository", description="Triton's model repository, a folder or any fsspec URL; manifests are read."
    )
    max_image_bytes: int = Field(16 * 2**20, ge=1, le=60 * 2**20, description="Bytes that an image file may have.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Pixels that an image may have.")
    pixel_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=1024,
        description="Threads that decode and crop; one for each core by default.",
    )
    search_in_flight: int = Field(
        32, ge=1, description="Searches and puts worked on at once, at most; how many is found from their latency."
    )
    search_queue: int = Field(16, ge=0, description="Searches that may wait for their turn; more are refused.")
    latency_tolerance: float = Field(
        5.0,
        gt=1,
        description="How many times as long as in a quiet service a search may take before fewer are let in at once.",
    )
    ingest_in_flight: int = Field(
        16,
        ge=1,
        description="Puts worked on at once, at most; as many items that an outside engine builds beside them.",
    )
    ingest_queue: int = Field(
        256, ge=0, description="Puts that may wait for their turn, and as many of those items; more are refused."
    )
    lookup_in_flight: int = Field(16, ge=1, description="Other catalogue calls worked on at once.")
    lookup_queue: int = Field(256, ge=0, description="Other catalogue calls that may wait; more are refused.")
    queue_bytes: int = Field(
        512 * 2**20, ge=64 * 2**20, description="Bytes of images that searches, and puts, may hold while they wait."
    )
    build_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Part of their time that the models work for the build of a release while searches are served; "
        "all of it where none are.",
    )
    feedback_days: float = Field(
        365.0, gt=0, le=36_500, description="Days that feedback is kept, and its photos with it."
    )
    suspect_share: float = Field(
        0.0, ge=0, le=1, description="Part of the suspicious answers that is kept as feedback with the photo; 0: none."
    )
    suspect_similarity: float = Field(
        0.5, ge=-1, le=1, description="An answer is suspicious where an object's first hit is less similar than this."
    )
    suspect_margin: float = Field(
        0.02,
        ge=0,
        le=2,
        description="An answer is suspicious where an object's second hit is less than this behind the first.",
    )
    default_deadline: float = Field(
        10.0, gt=0, description="Seconds that a request may take where its caller names no deadline."
    )
    max_deadline: float = Field(
        60.0, gt=0, description="Seconds that a request may take, whatever its caller asks for; a put's default."
    )
    startup_wait: float = Field(
        600.0,
        ge=0,
        description="Seconds that the start waits for Triton, Milvus and the stores to answer, and for models to load.",
    )
    drain_delay: float = Field(
        1.0, ge=0, description="Seconds that calls are still taken when stopped, health being NOT_SERVING already."
    )
    drain_grace: float = Field(30.0, ge=0, description="Seconds that calls in flight may still take when stopped.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least that is logged.")

    @classmethod
    def read(cls, flags: Mapping[str, str]) -> Self:
        """From `flags`, field name to text, the process environment, and the files in SECRETS.

        Raises SettingsError where a variable or secret is unknown or a value is not of its field's type.
        """
        known = {variable(name) for name in cls.model_fields} | CLIENT_VARIABLES
        if unknown := sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
            raise SettingsError(
                f"unknown environment variable {', '.join(unknown)}; `semblance serve --help` names those there are"
            )
        given: dict[str, Any] = {**flags, "_secrets_dir": SECRETS if SECRETS.is_dir() else None}
        secrets = {variable(name).lower() for name in cls.model_fields}
        if unknown := sorted(path.name for path in SECRETS.glob(f"{PREFIX.lower()}*") if path.name not in secrets):
            raise SettingsError(
                f"unknown secret {', '.join(unknown)} in {SECRETS}; expected a variable that `semblance serve --help` "
                "names, in small letters"
            )
        try:
            settings = cls(**given)
        except ValidationError as error:
            raise SettingsError("; ".join(_complaint(dict(each), flags) for each in error.errors())) from None
        if "metadata_url" in flags and urlsplit(settings.metadata_url).password:
            raise SettingsError(
                f"{flag('metadata_url')} holds a password, which others of this host see in the list of processes: set "
                f"{variable('metadata_url')} instead"
            )
        settings.check()
        return settings

    def check(self) -> None:
        """Raises SettingsError where settings don't fit together, or would let strangers in or a secret out."""
        if "@" in urlsplit(self.milvus_uri).netloc:
            raise SettingsError(
                "SEMBLANCE_MILVUS_URI holds a password, and errors name it: set SEMBLANCE_MILVUS_TOKEN=user:password"
            )
        if self.metrics_listen:
            try:
                _, port = split(self.metrics_listen)
            except ValueError as error:
                raise SettingsError(f"SEMBLANCE_METRICS_LISTEN: {error}") from None
            if not 0 < port <= 65536 - self.workers:
                raise SettingsError(
                    f"SEMBLANCE_METRICS_LISTEN is {self.metrics_listen!r}: expected a port from 1 to "
                    f"{65536 - self.workers}, as each of {self.workers} workers takes one, from this one on"
                )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise SettingsError("SEMBLANCE_TLS_CERTIFICATE and SEMBLANCE_TLS_KEY belong together; set both or none")
        if self.tls_client_ca and not self.tls_certificate:
            raise SettingsError(
                "SEMBLANCE_TLS_CLIENT_CA needs SEMBLANCE_TLS_CERTIFICATE and SEMBLANCE_TLS_KEY beside it"
            )
        closed = self.tls_certificate and self.callers
        if not (closed or self.insecure_listen or is_loopback(self.listen)):
            raise SettingsError(
                f"SEMBLANCE_LISTEN is {self.listen!r}, which other hosts reach: set SEMBLANCE_TLS_CERTIFICATE, "
                "SEMBLANCE_TLS_KEY and SEMBLANCE_CALLERS, or SEMBLANCE_INSECURE_LISTEN=true where something before the "
                "port keeps strangers out"
            )


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def flag(field: str) -> str:
    """The command-line flag of a field."""
    return "--" + field.replace("_", "-")


def _complaint(error: Mapping[str, object], flags: Mapping[str, str]) -> str:
    location = error["loc"]
    assert isinstance(location, tuple)
    field = str(location[0])
    return f"{flag(field) if field in flags else variable(field)} is {error['input']!r}: {error['msg']}"
