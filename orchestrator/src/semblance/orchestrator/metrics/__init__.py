"""What Prometheus scrapes: the process's own counts and state, read when it asks and not before."""
