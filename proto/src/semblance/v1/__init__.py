"""Messages and stubs of the `semblance.v1` protocol, generated from `proto/`."""
