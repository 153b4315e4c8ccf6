"""The dashboard and the alerts of `deploy/`, and what proves that each of their queries has data."""
