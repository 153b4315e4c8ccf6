"""What the model `search` takes and gives, and how the protocol describes it."""

from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2, service_pb2

MODEL = "search"
VERSION = "1"
# Each stage of a search, and which of the protocol's figures its time belongs to.
FIGURES = {
    "admission": "queue",
    "decode": "compute_input",
    "detect": "compute_infer",
    "crop": "compute_input",
    "embed": "compute_infer",
    "search": "compute_infer",
    "encode": "compute_output",
}
# The model calls itself an ensemble of its stages, so that perf_analyzer asks for the figures of each and prints them;
# they can't be called on their own.
PLATFORM = "ensemble"
STAGE_MODELS = {stage: f"{MODEL}.{stage}" for stage in FIGURES}
# The configuration names types differently from the requests.
CONFIG_TYPES = {"BYTES": model_config_pb2.TYPE_STRING, "FP32": model_config_pb2.TYPE_FP32}


@dataclass(frozen=True, slots=True)
class Tensor:
    """`dims` has -1 where the size depends on the request."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False


# A JPEG, PNG or WebP file.
IMAGE = Tensor("image", "BYTES", (1,))
# `semblance.v1.SearchOptions` as protobuf's JSON.
OPTIONS = Tensor("options", "BYTES", (1,), optional=True)
# [objects, top_k]: best detection first, most similar item first; "" where there is no further hit.
ITEM_ID = Tensor("item_id", "BYTES", (-1, -1))
# [objects, top_k]: by the measure that the answer names; NaN where there is no further hit.
SIMILARITY = Tensor("similarity", "FP32", (-1, -1))
# [objects, 4]: x1 y1 x2 y2 of each object, in pixels of the upright image.
BOX = Tensor("box", "FP32", (-1, 4))

INPUTS = {tensor.name: tensor for tensor in (IMAGE, OPTIONS)}
OUTPUTS = {tensor.name: tensor for tensor in (ITEM_ID, SIMILARITY, BOX)}


def metadata() -> service_pb2.ModelMetadataResponse:
    def described(tensor: Tensor) -> service_pb2.ModelMetadataResponse.TensorMetadata:
        return service_pb2.ModelMetadataResponse.TensorMetadata(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.dims
        )

    return service_pb2.ModelMetadataResponse(
        name=MODEL,
        versions=[VERSION],
        platform=PLATFORM,
        inputs=map(described, INPUTS.values()),
        outputs=map(described, OUTPUTS.values()),
    )


def config() -> model_config_pb2.ModelConfig:
    """Without a batch dimension: each request is one photo, and the models behind it are batched by Triton."""
    return model_config_pb2.ModelConfig(
        name=MODEL,
        platform=PLATFORM,
        max_batch_size=0,
        input=[
            model_config_pb2.ModelInput(
                name=tensor.name,
                data_type=CONFIG_TYPES[tensor.datatype],
                dims=tensor.dims,
                optional=tensor.optional,
            )
            for tensor in INPUTS.values()
        ],
        output=[
            model_config_pb2.ModelOutput(name=tensor.name, data_type=CONFIG_TYPES[tensor.datatype], dims=tensor.dims)
            for tensor in OUTPUTS.values()
        ],
        ensemble_scheduling=model_config_pb2.ModelEnsembling(
            step=[
                model_config_pb2.ModelEnsembling.Step(model_name=name, model_version=int(VERSION))
                for name in STAGE_MODELS.values()
            ]
        ),
    )


def stage_config(name: str) -> model_config_pb2.ModelConfig:
    return model_config_pb2.ModelConfig(name=name, platform="semblance")
