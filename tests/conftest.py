"""Fixtures of the whole tree: real servers, and the whole product on them."""

import signal

pytest_plugins = ["tests.servers", "tests.stack"]


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore SIGINT, and children inherit that: Ctrl-C is tested."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
