"""What a user can mend; every message says what was expected and what to do."""

from __future__ import annotations


class TrainingError(Exception):
    """A training can't start, or can't go on."""
