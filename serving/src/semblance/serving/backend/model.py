"""The model instance that Triton's Python stub creates and calls."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from semblance.serving.backend.session import OPENVINO_PROVIDER, nodes_of, open_session, run_options
from semblance.serving.backend.settings import Settings
from semblance.serving.backend.signature import check_signature


class TritonPythonModel:
    """One instance of one version of a model: a session of ONNX Runtime."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        settings = Settings.of(config, args["model_instance_kind"])
        path = Path(args["model_repository"]) / args["model_version"] / settings.filename
        self.session = open_session(path, settings)
        check_signature(config, self.session.get_inputs(), self.session.get_outputs())
        self.run_options = run_options(settings)
        self.batching = config["max_batch_size"] > 0
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        pb_utils.Logger.log_info(
            f"{args['model_instance_name']} version {args['model_version']}: {self.session.get_providers()[0]}"
            + (f", {nodes_of(self.session, OPENVINO_PROVIDER)} nodes" if settings.openvino else "")
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers the requests that the scheduler merged, in their order, with one run of the session."""
        live = [request for request in requests if not request.is_cancelled()]
        answers = self.answer_together(live) if self.batching else [self.answer(request) for request in live]
        if len(live) == len(requests):
            return answers
        answered = dict(zip(map(id, live), answers, strict=True))
        return [answered.get(id(request), cancelled()) for request in requests]

    def answer_together(self, requests: list[Any]) -> list[Any]:
        if len(requests) < 2:
            return [self.answer(request) for request in requests]
        feeds = [self.feed(request) for request in requests]
        ends = np.cumsum([len(feed[self.inputs[0]]) for feed in feeds])[:-1]
        try:
            results = self.run({name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs})
        except Exception as error:
            return [failed(error) for _ in requests]
        parts = [np.split(result, ends) for result in results]
        return [self.response(part) for part in zip(*parts, strict=True)]

    def answer(self, request: Any) -> Any:
        try:
            results = self.run(self.feed(request))
        except Exception as error:
            return failed(error)
        return self.response(results)

    def feed(self, request: Any) -> dict[str, np.ndarray[Any, Any]]:
        return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}

    def run(self, feed: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        results: list[np.ndarray[Any, Any]] = self.session.run(self.outputs, feed, self.run_options)
        return results

    def response(self, results: Any) -> Any:
        """All outputs; the stub drops those that the request did not ask for."""
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, result) for name, result in zip(self.outputs, results, strict=True)]
        )


def failed(error: Exception) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnxruntime: {error}"))


def cancelled() -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError("cancelled", pb_utils.TritonError.CANCELLED))
