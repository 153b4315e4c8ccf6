"""`MetadataStore` over SQLAlchemy: SQLite or PostgreSQL."""

from semblance.orchestrator.adapters.metadata.store import SqlMetadataStore

__all__ = ["SqlMetadataStore"]
