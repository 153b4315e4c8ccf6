"""The search as a model, in the protocol of Triton and KServe (v2), so that their clients and perf_analyzer can use it.

`service` answers the protocol's calls, `signature` says what the model `search` takes and gives, `tensors` translates
between them and the domain, `statistics` what was counted and timed.
"""
