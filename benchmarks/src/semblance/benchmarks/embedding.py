"""Embeds crops in the environment of Triton, which has OpenVINO: `python embedding.py MODEL.onnx`, fed by a pipe.

Reads crops, uint8 [224,224,3] after each other, from standard input, and writes one vector, float32 [dim], for each
to standard output; in batches of `BATCH`, at the end with what is left. One thread: who wants more starts more.
"""

import json
import sys

import numpy as np
import onnxruntime

BATCH = 16
SIDE = 224


def main(model: str) -> None:
    # Models in int8 keep to it; the others run as fast as the hardware can. A file name here would be ignored.
    hint = json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}})
    options = {"device_type": "CPU", "num_of_threads": "1", "load_config": hint}
    session = onnxruntime.InferenceSession(model, providers=[("OpenVINOExecutionProvider", options)])
    if session.get_providers()[0] != "OpenVINOExecutionProvider":
        sys.exit(f"ONNX Runtime gave {session.get_providers()} for {model}; expected OpenVINO")
    while crops := sys.stdin.buffer.read(BATCH * SIDE * SIDE * 3):
        batch = np.frombuffer(crops, np.uint8).reshape(-1, SIDE, SIDE, 3)
        (vectors,) = session.run(None, {"crop": batch})
        sys.stdout.buffer.write(np.asarray(vectors, np.float32).tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
