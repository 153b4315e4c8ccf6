"""`semblance doctor`: whether all that the service needs is there, goes together, and avoids what is known to hurt.

Each module looks at one part. What it looks at comes through `looks` and the service's own ports, so that every check
has a test on fakes.
"""
