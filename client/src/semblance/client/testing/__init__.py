"""A Semblance in memory, for the tests of whoever calls the real one.

    with FakeSemblance() as service, Client(service.target) as client:
        client.put_item(NewItem("mug-7", [mug_jpeg], {"price": 12.5}))
        service.shows(kitchen_jpeg, [SeenObject(Box(40, 60, 200, 220), "mug", similar={"mug-7": 0.93})])
        assert client.search(kitchen_jpeg).objects[0].hits[0].item_id == "mug-7"

It is a real gRPC server on a free port of this host and passes the contract tests of the service. It looks at no
pixels: images resemble each other where a test says so, or where their bytes are the same. It needs Pillow
(`pip install 'semblance-client[testing]'`) to tell images from other bytes and to know their size.
"""

from semblance.client.testing._catalogue import SeenObject
from semblance.client.testing._service import FakeSemblance

__all__ = ["FakeSemblance", "SeenObject"]
