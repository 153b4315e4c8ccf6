"""What a catalogue and the searches in it take: bytes, cores, GPUs and nodes.

`semblance release plan`, `semblance doctor` and docs/sizing.md count with these functions. Each number that they begin
with says where it is from.
"""

import math
from dataclasses import dataclass

from semblance.orchestrator.release import IndexParameters

GIB = 2**30
FLOAT32_BYTES = 4
SECONDS_OF_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Given:
    """A number that the arithmetic begins with, and where it is from."""

    what: str
    value: float
    unit: str
    source: str

    @property
    def text(self) -> str:
        number = f"{self.value:,.0f}" if self.value == int(self.value) else f"{self.value:g}"
        return f"{number} {self.unit}".strip()


ROW_BYTES = Given(
    "memory of a loaded row beside its vector and its neighbours",
    1_300,
    "bytes",
    "benchmarks/results/scale.json, 100,000 rows without attributes in Milvus 2.3.5: 598 (256 numbers) to 1,286 (384)",
)
DISK_ROW_BYTES = Given(
    "disk of a row beside its vector", 200, "bytes", "its scalar fields without attributes, in each copy"
)
COPIES_ON_DISK = Given("copies on disk", 2, "", "Milvus keeps the rows as they were inserted beside the index of them")
OBJECTS = Given("objects in a photo", 3.44, "", "benchmarks/results/efficiency.json: the demo's scenes")
SEARCH_US = Given(
    "CPU of searching a segment of n rows, for each number of a vector and each ln(n)",
    0.75,
    "µs",
    "benchmarks/results/scale.json: the median search (ef 128) among 100,000 rows less that among 1,000, over ln(100): "
    "0.43 to 0.74; HNSW grows with ln(n) (Malkov and Yashunin, section 4.2)",
)
ORCHESTRATOR_MS = Given(
    "CPU of an orchestrator for a photo",
    4.14,
    "ms",
    "benchmarks/results/overhead.json: small photos, models that cost nothing",
)
TRANSPORT_MS = Given(
    "CPU of sending a MB to Triton in messages rather than shared memory",
    0.9,
    "ms",
    "1.41 less 0.30 ms for a photo's 1.23 MB, with models that cost nothing on two cores of a Xeon",
)
MEASURED = (ROW_BYTES, DISK_ROW_BYTES, COPIES_ON_DISK, OBJECTS, SEARCH_US, ORCHESTRATOR_MS, TRANSPORT_MS)

DETECTOR_GFLOP = Given("YOLOv8n, a photo", 8.7, "GFLOP", "Ultralytics' table of models")
EMBEDDER_GFLOP = Given("ResNet-50, a crop", 8.2, "GFLOP", "torchvision: 4.09 G multiplications with additions")
GPU_TFLOPS = Given("a GPU", 121, "TFLOP/s", "NVIDIA's data sheet of the L4: fp16, dense")
GPU_SHARE = Given("of that in practice", 0.2, "", "assumed; measure yours with `make perf-analyzer`")
NETWORK_GBIT = Given("network of Triton's node", 10, "Gbit/s", "assumed, for one Triton")
FULL = Given(
    "load at which CPUs, GPUs and networks are full", 0.7, "", "assumed: the rest is for peaks and a lost node"
)
NODE_GIB = Given("memory of a query node", 128, "GiB", "assumed")
NODE_CORES = Given("cores of a query node", 16, "", "assumed")
NODE_FILLED = Given(
    "part of its memory that segments take", 0.75, "", "assumed: the rest is for loading and for growing ones"
)
POD_CORES = Given("cores of an orchestrator's pod", 2, "", "deploy/kubernetes/base/orchestrator.yaml")
ASSUMED = (
    DETECTOR_GFLOP,
    EMBEDDER_GFLOP,
    GPU_TFLOPS,
    GPU_SHARE,
    NETWORK_GBIT,
    FULL,
    NODE_GIB,
    NODE_CORES,
    NODE_FILLED,
    POD_CORES,
)
# What goes to Triton: a letterboxed photo and a crop, uint8.
PHOTO_MB = 640 * 640 * 3 / 1e6
CROP_MB = 224 * 224 * 3 / 1e6
# None serves alone.
FEWEST = 2


def memory_of_row(dimension: int, index: IndexParameters) -> int:
    """Bytes in Milvus' memory: the vector, 4 for each of the 2 M neighbours on HNSW's lowest layer, where nearly all
    are (Malkov and Yashunin, section 4.2.3), and the rest."""
    return dimension * FLOAT32_BYTES + 2 * index.m * FLOAT32_BYTES + int(ROW_BYTES.value)


def disk_of_row(dimension: int) -> int:
    """Bytes on Milvus' disk or in its object store."""
    return int(COPIES_ON_DISK.value) * (dimension * FLOAT32_BYTES + int(DISK_ROW_BYTES.value))


def query_nodes(memory: int, cores: float = 0.0) -> int:
    """Nodes that hold `memory` bytes of collections and compute `cores` cores of searches."""
    for_memory = math.ceil(memory / (NODE_GIB.value * GIB * NODE_FILLED.value))
    return max(for_memory, math.ceil(cores / (NODE_CORES.value * FULL.value)))


def photos_of_gpu(objects: float) -> tuple[float, float]:
    """Photos a second with `objects` each that a Triton with one GPU computes, and that its network brings it."""
    gflop = DETECTOR_GFLOP.value + objects * EMBEDDER_GFLOP.value
    megabits = 8 * (PHOTO_MB + objects * CROP_MB)
    return GPU_TFLOPS.value * 1e3 * GPU_SHARE.value / gflop, NETWORK_GBIT.value * 1e3 / megabits


@dataclass(frozen=True, slots=True)
class Demand:
    """What there is to be served.

    Attributes:
        vectors: rows of the collection; an image of the catalogue gives one.
        photos: searches a second.
        segment: bytes of vectors in a segment of Milvus (`dataCoord.segment.maxSize`).
        days: in which all the catalogue is to be embedded anew, beside the searches.
    """

    vectors: int
    photos: float
    segment: int
    days: float
    dimension: int
    index: IndexParameters

    @property
    def memory(self) -> int:
        """Bytes of one collection."""
        return self.vectors * memory_of_row(self.dimension, self.index)

    @property
    def memory_of_both(self) -> int:
        """While a release is built beside the active one."""
        return 2 * self.memory

    @property
    def disk_of_both(self) -> int:
        return 2 * self.vectors * disk_of_row(self.dimension)

    @property
    def segments(self) -> int:
        return math.ceil(self.vectors * self.dimension * FLOAT32_BYTES / self.segment)

    @property
    def search_cores(self) -> float:
        """Each vector of each photo is looked for in each segment."""
        seconds = SEARCH_US.value / 1e6 * self.dimension * math.log(self.vectors / self.segments)
        return self.photos * OBJECTS.value * self.segments * seconds

    @property
    def query_nodes(self) -> int:
        return max(FEWEST, query_nodes(self.memory_of_both, self.search_cores))

    @property
    def gpus(self) -> int:
        """For searches and for the catalogue's images, which have one object each."""
        searches = self.photos / min(photos_of_gpu(OBJECTS.value))
        anew = self.vectors / (self.days * SECONDS_OF_DAY) / min(photos_of_gpu(1))
        return max(FEWEST, math.ceil((searches + anew) / FULL.value))

    @property
    def orchestrators(self) -> int:
        sent = TRANSPORT_MS.value * (PHOTO_MB + OBJECTS.value * CROP_MB)
        cores = self.photos * (ORCHESTRATOR_MS.value + sent) / 1e3
        return max(FEWEST, math.ceil(cores / (POD_CORES.value * FULL.value)))

    @property
    def days_of_keeper(self) -> float:
        """In which the keeper alone, one process, would embed the catalogue anew: its own CPU is the limit then."""
        sent = TRANSPORT_MS.value * (PHOTO_MB + CROP_MB)
        return self.vectors * (ORCHESTRATOR_MS.value + sent) / 1e3 / SECONDS_OF_DAY
