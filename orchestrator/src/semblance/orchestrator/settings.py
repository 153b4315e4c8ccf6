"""What an operator may set: from `SEMBLANCE_*` variables, or flags of `semblance serve`, which win."""

import os
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SEMBLANCE_"

# Read by the client's commands, which may share an environment with the service.
CLIENT_VARIABLES = frozenset({"SEMBLANCE_TARGET"})


class SettingsError(Exception):
    """A setting is unknown or its value is not what it should be. One line for each."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    listen: str = Field("127.0.0.1:50051", description="Address and port that the service listens on.")
    workers: int = Field(
        1, ge=1, le=256, description="Processes that share the port; limits of requests and threads are of each."
    )
    triton_url: str = Field("127.0.0.1:8001", description="Triton's gRPC endpoint, host:port.")
    transport: Literal["auto", "shared_memory", "bytes"] = Field(
        "auto",
        description="How pictures reach Triton: shared_memory, bytes (in the message), or auto: shared memory where "
        "Triton is on this host and takes it.",
    )
    milvus_uri: str = Field("http://127.0.0.1:19530", description="Milvus' endpoint.")
    milvus_token: SecretStr = Field(SecretStr(""), description="Milvus' token, user:password or an API key.")
    metadata_url: str = Field(
        "sqlite:///.semblance/metadata.db",
        description="The metadata store: sqlite:///file or postgresql+psycopg://user:password@host/database.",
    )
    image_store: str = Field(
        "file://.semblance/images", description="The image store: file://folder or s3://bucket/prefix."
    )
    model_repository: str = Field(
        "model_repository", description="Triton's model repository, a folder or any fsspec URL; manifests are read."
    )
    max_image_bytes: int = Field(16 * 2**20, ge=1, le=60 * 2**20, description="Bytes that an image file may have.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Pixels that an image may have.")
    worker_threads: int = Field(
        os.cpu_count() or 1, ge=1, le=1024, description="Threads that decode and crop; one for each core by default."
    )
    search_in_flight: int = Field(16, ge=1, description="Searches worked on at once.")
    search_queue: int = Field(32, ge=0, description="Searches that may wait for their turn; more are refused.")
    ingest_in_flight: int = Field(8, ge=1, description="Puts, and other catalogue calls, worked on at once.")
    ingest_queue: int = Field(256, ge=0, description="Catalogue calls that may wait for their turn; more are refused.")
    default_deadline: float = Field(
        10.0, gt=0, description="Seconds that a request may take where its caller names no deadline."
    )
    max_deadline: float = Field(
        60.0, gt=0, description="Seconds that a request may take, whatever its caller asks for; a put's default."
    )
    startup_wait: float = Field(
        120.0, ge=0, description="Seconds that the start waits for Triton, Milvus and the stores to answer."
    )
    drain_grace: float = Field(30.0, ge=0, description="Seconds that calls in flight may still take when stopped.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least that is logged.")

    @classmethod
    def read(cls, flags: Mapping[str, str]) -> Self:
        """From the process environment and from `flags`, field name to text.

        Raises SettingsError where a variable is unknown or a value is not of its field's type.
        """
        known = {variable(name) for name in cls.model_fields} | CLIENT_VARIABLES
        if unknown := sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
            raise SettingsError(
                f"unknown environment variable {', '.join(unknown)}; `semblance serve --help` names those there are"
            )
        try:
            return cls(**dict[str, Any](flags))
        except ValidationError as error:
            raise SettingsError("; ".join(_complaint(dict(each), flags) for each in error.errors())) from None


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
