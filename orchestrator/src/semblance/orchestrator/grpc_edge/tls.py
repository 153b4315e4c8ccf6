"""The certificate that the service shows, and those that it asks for."""

import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from semblance.orchestrator.settings import SettingsError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With a `client_ca`, who connects must show a certificate that one of those in it has signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Raises SettingsError where a file can't be read, or they do not fit together."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password the library would ask the terminal for one.
            context.load_cert_chain(self.certificate, self.key, password="")
        except OSError as error:
            raise SettingsError(
                f"{self.certificate} and {self.key} are not a certificate chain and its unencrypted key in PEM: "
                f"{error.strerror}"
            ) from None
        try:
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except OSError as error:
            raise SettingsError(f"{self.client_ca} holds no certificates in PEM: {error.strerror}") from None

    def read(self) -> grpc.ServerCertificateConfiguration:
        pair = self.key.read_bytes(), self.certificate.read_bytes()
        client_ca = self.client_ca.read_bytes() if self.client_ca else None
        return grpc.ssl_server_certificate_configuration([pair], client_ca)

    def stamps(self) -> list[int]:
        """Others where a file has changed."""
        files = (self.certificate, self.key, self.client_ca)
        return [os.stat(file).st_mtime_ns for file in files if file]


class Tls:
    """Changed files count from the next connection on; as long as they do not fit together, those of before do."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises SettingsError where they can't be used."""
        files.check()
        self._files = files
        self._seen = files.stamps()

    @property
    def asks_certificates(self) -> bool:
        return self._files.client_ca is not None

    def credentials(self) -> grpc.ServerCredentials:
        fetch: Any = self._changed  # Its type in the stubs leaves out None, which means "no change".
        return grpc.dynamic_ssl_server_credentials(self._files.read(), fetch, self.asks_certificates)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """gRPC asks this before each handshake, in a thread of its own."""
        try:
            if (seen := self._files.stamps()) == self._seen:
                return None
            self._seen = seen
            self._files.check()
            read = self._files.read()
        except (OSError, SettingsError) as error:
            log.error("the certificates stay those of before: %s", error)
            return None
        log.info("the certificates have changed")
        return read
