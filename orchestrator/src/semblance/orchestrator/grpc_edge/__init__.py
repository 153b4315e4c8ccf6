"""The service's face: gRPC in, the domain inside.

A call passes `boundary` (errors become statuses, by the one table in `status`), a servicer that only translates and
calls (`search_service`, `catalog_service`; several requests of one stream through `stream`), and `translate` both ways.
`kserve` is a second face of the search, in the protocol that Triton speaks; both search through `searcher`. `server`
puts them on a port.
"""
