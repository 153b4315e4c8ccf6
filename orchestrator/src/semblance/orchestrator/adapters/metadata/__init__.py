"""`MetadataStore`, `Registry` and `FeedbackStore` over SQLAlchemy, in one database: SQLite or PostgreSQL."""

from semblance.orchestrator.adapters.metadata.database import Database
from semblance.orchestrator.adapters.metadata.feedback_store import SqlFeedbackStore
from semblance.orchestrator.adapters.metadata.registry import SqlRegistry
from semblance.orchestrator.adapters.metadata.store import SqlMetadataStore

__all__ = ["Database", "SqlFeedbackStore", "SqlMetadataStore", "SqlRegistry"]
