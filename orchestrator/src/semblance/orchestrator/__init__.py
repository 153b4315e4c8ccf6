"""The service: a photo in, the catalogue items that resemble its objects out.

The way of a request: `grpc_edge` (interceptors, servicers, translate) → `admission` → `pipeline` → the five steps
`decode`, `detect`, `crop`, `embed`, `search`. What the steps need from outside is in `ports`; what gives it is in
`adapters`, put together in `bootstrap`.
"""
