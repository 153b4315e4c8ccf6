"""Who may call: the file of callers, and the tokens that they show.

A token is `semblance.<name>.<secret>`, and the file keeps its SHA-256. A slow hash, such as passwords need, would
protect no better: the secret is 256 random bits, which nobody guesses, and every request would pay for it.
"""

import asyncio
import hashlib
import hmac
import logging
import math
import os
import secrets
from collections import Counter
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from semblance.orchestrator.caller import Caller, Role
from semblance.orchestrator.rate_limit import RateLimit
from semblance.orchestrator.settings import SettingsError

log = logging.getLogger(__name__)

# Lets scanners of repositories and logs find one that leaked.
PREFIX = "semblance"
SECRET_BYTES = 32
# A changed file counts after this many seconds at most.
WATCH_SECONDS = 1.0

Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenHash(_Strict):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    created: date


class Entry(_Strict):
    """A caller, known by a token or by a name in its certificate: a subject alternative name, or the common name where
    there is none."""

    name: Name
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    requests_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(ge=1)] | None = None
    tokens: tuple[TokenHash, ...] = ()
    certificates: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _burst_of_a_rate(self) -> Self:
        if self.burst is not None and self.requests_per_second is None:
            raise ValueError("burst needs requests_per_second beside it")
        return self

    @classmethod
    def of(cls, **fields: object) -> Self:
        """Raises SettingsError."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise SettingsError(f"this can't be a caller: {_complaints(error)}") from None

    def caller(self) -> Caller:
        rate = None
        if self.requests_per_second is not None:
            rate = RateLimit(self.requests_per_second, self.burst or math.ceil(self.requests_per_second))
        return Caller(self.name, frozenset(self.roles), rate)


class CallersFile(_Strict):
    callers: tuple[Entry, ...]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = Counter(entry.name for entry in self.callers)
        certificates = Counter(name for entry in self.callers for name in entry.certificates)
        if twice := [name for name, count in (names + certificates).items() if count > 1]:
            raise ValueError(f"{', '.join(twice)} is there twice")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises SettingsError, which names what is wrong and where, and shows no value."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"the file of callers {path} can't be read: {error.strerror}") from None
        except ValidationError as error:
            raise SettingsError(f"the file of callers {path} is wrong: {_complaints(error)}") from None


class Callers:
    """Those of a file, which may change while they call."""

    def __init__(self, path: Path) -> None:
        """Raises SettingsError where the file is missing or wrong."""
        self._path = path
        self._seen = _stamp(path)
        self._take(CallersFile.read(path))

    def by_token(self, token: str) -> Caller | None:
        _, _, named = token.partition(".")
        caller, hashes = self._by_name.get(named.partition(".")[0], (None, ()))
        shown = digest(token)
        return caller if any(hmac.compare_digest(shown, known) for known in hashes) else None

    def by_certificate(self, names: Iterable[str]) -> Caller | None:
        return next((self._by_certificate[name] for name in names if name in self._by_certificate), None)

    async def watch_forever(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.refresh()

    def refresh(self) -> None:
        """Reads a changed file; where it is wrong, the callers stay those of before."""
        if (seen := _stamp(self._path)) == self._seen:
            return
        self._seen = seen
        try:
            self._take(CallersFile.read(self._path))
        except SettingsError as error:
            log.error("%s; the callers stay those of before", error)
        else:
            log.info("the file of callers has changed: %s may call", ", ".join(self._by_name) or "nobody")

    def _take(self, file: CallersFile) -> None:
        made = [(entry, entry.caller()) for entry in file.callers]
        self._by_name = {
            entry.name: (caller, tuple(bytes.fromhex(one.sha256) for one in entry.tokens)) for entry, caller in made
        }
        self._by_certificate = {name: caller for entry, caller in made for name in entry.certificates}


def new_token(name: str) -> str:
    return f"{PREFIX}.{name}.{secrets.token_urlsafe(SECRET_BYTES)}"


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _complaints(error: ValidationError) -> str:
    """Without the values."""
    return "; ".join(": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"]))) for each in error.errors())


def _stamp(path: Path) -> tuple[int, ...]:
    """Another one where the file is another, or has other content."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ino, status.st_size
