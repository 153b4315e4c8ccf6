"""Triton's `onnxruntime` backend in Python, for hosts without the container that holds the C++ one.

`tritonserver` runs `model.py` in one process per model instance, in the `triton` environment (numpy < 2,
onnxruntime-openvino), so that these modules import nothing but numpy and onnxruntime. It reads the same
`config.pbtxt` as https://github.com/triton-inference-server/onnxruntime_backend (r24.10), refuses what that one
would, and also refuses the keys that it can't honour, by name.
"""
