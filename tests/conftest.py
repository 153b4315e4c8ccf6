"""Fixtures of the whole tree: real servers, and the whole product on them."""

pytest_plugins = ["tests.servers", "tests.stack"]
