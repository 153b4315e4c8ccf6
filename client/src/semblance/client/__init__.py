"""Client of Semblance: finds the catalogue items that a photo shows.

    from semblance.client import Client, NewItem, field

    with Client("127.0.0.1:50051") as client:
        client.put_item(NewItem("mug-7", ["mug.jpg"], {"price": 12.5}))
        result = client.search("kitchen.jpg", filter=field("price") < 20)

`AsyncClient` is the same for asyncio, `semblance.client.testing` a service in memory for callers' tests.
"""

from semblance.client._aio import AsyncClient
from semblance.client._channel import Tls
from semblance.client._client import Client
from semblance.client._errors import (
    CancelledError,
    ConflictError,
    ContractMismatchError,
    DeadlineExceededError,
    ForbiddenError,
    InternalError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidImageError,
    NotFoundError,
    OverloadedError,
    RetryableError,
    SemblanceError,
    UnauthenticatedError,
    UnavailableError,
)
from semblance.client._filters import Attribute, Filter, field
from semblance.client._types import (
    Box,
    Counts,
    Hit,
    ImageInput,
    Item,
    ItemImage,
    NewItem,
    ObjectHits,
    Objects,
    Outcome,
    SearchRequest,
    SearchResult,
    Source,
    Timings,
)

__all__ = [
    "AsyncClient",
    "Attribute",
    "Box",
    "CancelledError",
    "Client",
    "ConflictError",
    "ContractMismatchError",
    "Counts",
    "DeadlineExceededError",
    "Filter",
    "ForbiddenError",
    "Hit",
    "ImageInput",
    "InternalError",
    "InvalidArgumentError",
    "InvalidFilterError",
    "InvalidImageError",
    "Item",
    "ItemImage",
    "NewItem",
    "NotFoundError",
    "ObjectHits",
    "Objects",
    "Outcome",
    "OverloadedError",
    "RetryableError",
    "SearchRequest",
    "SearchResult",
    "SemblanceError",
    "Source",
    "Timings",
    "Tls",
    "UnauthenticatedError",
    "UnavailableError",
    "field",
]
