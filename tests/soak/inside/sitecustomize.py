"""Python imports this at its start where this folder is on its path: it writes down how many tasks the service has."""

import asyncio
import os
import threading
import time
from pathlib import Path

FILE = Path(os.environ["SOAK_TASKS"])
SECONDS = 0.5


def report(loop: asyncio.AbstractEventLoop) -> None:
    aside = FILE.with_suffix(f".{threading.get_ident()}")
    while not loop.is_closed():
        aside.write_text(str(len(asyncio.all_tasks(loop))))
        aside.replace(FILE)
        time.sleep(SECONDS)


class Policy(asyncio.DefaultEventLoopPolicy):
    """Tells of each event loop when it is made."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().new_event_loop()
        threading.Thread(target=report, args=(loop,), daemon=True).start()
        return loop


asyncio.set_event_loop_policy(Policy())
