"""Where a page of a list goes on: the key before it, in a form that its callers do not make up."""

import base64
import binascii
import zlib

from semblance.orchestrator.errors import InvalidArgument


def token_after(key: str) -> str:
    encoded = key.encode()
    return base64.urlsafe_b64encode(zlib.crc32(encoded).to_bytes(4) + encoded).decode()


def key_of(page_token: str) -> str:
    try:
        decoded = base64.b64decode(page_token, altchars=b"-_", validate=True)
        if len(decoded) > 4 and int.from_bytes(decoded[:4]) == zlib.crc32(decoded[4:]):
            return decoded[4:].decode()
    except (binascii.Error, ValueError):
        pass
    raise InvalidArgument("the page token is not one of this service; list from the start with an empty one")
