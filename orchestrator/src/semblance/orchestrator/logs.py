"""One line of JSON for each record, tracebacks included, with the request that it is of."""

import json
import logging
import sys
from datetime import UTC, datetime

from semblance.orchestrator.request import answering


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := answering.get()) is not None:
            line |= {"request_id": request.request_id, "method": request.method, "release": request.release_id}
            if request.span is not None:
                line["trace_id"] = request.span.traceparent.split("-")[1]
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(level: str) -> None:
    """DEBUG is for this service alone: libraries would log what they send then, and credentials with it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=max(logging.INFO, logging.getLevelName(level)), handlers=[handler], force=True)
    logging.getLogger("semblance").setLevel(level)
    logging.captureWarnings(True)
