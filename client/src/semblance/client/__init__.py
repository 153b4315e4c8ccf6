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
    WrongStateError,
)
from semblance.client._filters import Attribute, Filter, field
from semblance.client._release_types import (
    Canary,
    Evaluation,
    Figure,
    Finding,
    IndexParameters,
    NewRelease,
    Release,
    ReleaseModel,
    ReleasePlan,
    ReleaseProgress,
    ReleaseReport,
    ReleaseState,
    ReleaseStatus,
    Switch,
)
from semblance.client._releases import AsyncReleases, Releases
from semblance.client._types import (
    Box,
    Counts,
    Hit,
    ImageInput,
    Item,
    ItemImage,
    Measure,
    Metric,
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
    "AsyncReleases",
    "Attribute",
    "Box",
    "Canary",
    "CancelledError",
    "Client",
    "ConflictError",
    "ContractMismatchError",
    "Counts",
    "DeadlineExceededError",
    "Evaluation",
    "Figure",
    "Filter",
    "Finding",
    "ForbiddenError",
    "Hit",
    "ImageInput",
    "IndexParameters",
    "InternalError",
    "InvalidArgumentError",
    "InvalidFilterError",
    "InvalidImageError",
    "Item",
    "ItemImage",
    "Measure",
    "Metric",
    "NewItem",
    "NewRelease",
    "NotFoundError",
    "ObjectHits",
    "Objects",
    "Outcome",
    "OverloadedError",
    "Release",
    "ReleaseModel",
    "ReleasePlan",
    "ReleaseProgress",
    "ReleaseReport",
    "ReleaseState",
    "ReleaseStatus",
    "Releases",
    "RetryableError",
    "SearchRequest",
    "SearchResult",
    "SemblanceError",
    "Source",
    "Switch",
    "Timings",
    "Tls",
    "UnauthenticatedError",
    "UnavailableError",
    "WrongStateError",
    "field",
]
