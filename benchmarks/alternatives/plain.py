"""The script one would write first: Ultralytics, torchvision and pymilvus in a loop, torch on all cores.

    ls photos/*.jpg | python plain.py --weights demo/weights --milvus-uri URI --collection NAME

Reads the paths of photos, one a line, and prints the objects of each as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from pymilvus import MilvusClient
from torch.fx.experimental.optimization import fuse
from torchvision.models import resnet50
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

TOP_K = 10
CROP_SIZE, PAD_VALUE = 224, 114
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="a folder with detector/ and embedder/")
    parser.add_argument("--milvus-uri", required=True)
    parser.add_argument("--collection", required=True)
    options = parser.parse_args()
    detector, embedder = load_detector(options.weights), load_embedder(options.weights)
    milvus = MilvusClient(options.milvus_uri, timeout=10.0)
    for line in sys.stdin:
        print(json.dumps(search(line.rstrip("\n"), detector, embedder, milvus, options.collection)), flush=True)


def search(
    photo: str, detector: YOLO, embedder: torch.nn.Module, milvus: MilvusClient, collection: str
) -> list[dict[str, Any]]:
    """The box of each object, best first, and its items, most similar first."""
    picture: Any = cv2.imread(photo)
    boxes = detector.predict(picture, conf=0.25, iou=0.7, max_det=100, verbose=False)[0].boxes.xyxy.numpy()
    if not len(boxes):
        boxes = np.array([[0, 0, picture.shape[1], picture.shape[0]]])
    with torch.inference_mode():
        crops = torch.stack([crop(picture, box) for box in boxes])
        vectors = torch.nn.functional.normalize(embedder(crops)).numpy()
    answers = milvus.search(
        collection,
        data=list(vectors),
        anns_field="vector",
        limit=4 * TOP_K,
        search_params={"params": {"ef": 128}},
        output_fields=["item_id", "image_id", "x1", "y1", "x2", "y2"],
        consistency_level="Bounded",
    )
    return [{"box": box, "items": items(rows)} for box, rows in zip(boxes.tolist(), answers, strict=True)]


def crop(picture: Any, box: Any) -> torch.Tensor:
    """FP32 [3, 224, 224], normalised: the box of a BGR picture with its proportions kept."""
    (left, top), (right, bottom) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    cut = cv2.cvtColor(picture[top:bottom, left:right], cv2.COLOR_BGR2RGB)
    height, width = cut.shape[:2]
    scale = CROP_SIZE / max(height, width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    cut = cv2.resize(cut, inner, interpolation=cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR)
    x, y = (CROP_SIZE - inner[0]) // 2, (CROP_SIZE - inner[1]) // 2
    square = np.full((CROP_SIZE, CROP_SIZE, 3), PAD_VALUE, np.uint8)
    square[y : y + inner[1], x : x + inner[0]] = cut
    return ((torch.from_numpy(square) / 255 - MEAN) / DEVIATION).permute(2, 0, 1)


def items(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        best.setdefault(row["entity"]["item_id"], row)
    return [{"similarity": row["distance"], **row["entity"]} for row in list(best.values())[:TOP_K]]


def load_detector(weights: Path) -> YOLO:
    """YOLOv8n with the numbers of the demo's detector, whose batch norms are folded into its convolutions."""
    classes = json.loads((weights / "detector" / "manifest.json").read_text())["class_names"]
    yolo = YOLO("yolov8n.yaml")
    yolo.model = DetectionModel("yolov8n.yaml", nc=len(classes), verbose=False).fuse(verbose=False)
    yolo.model.load_state_dict(numbers(weights / "detector", "network."))
    return yolo


def load_embedder(weights: Path) -> torch.nn.Module:
    """torchvision's ResNet-50 without its classifier, with the numbers of the demo's embedder."""
    network = resnet50()
    network.fc = torch.nn.Identity()
    network = fuse(network.eval())
    network.load_state_dict(numbers(weights / "embedder", "trunk."))
    return network


def numbers(package: Path, prefix: str) -> dict[str, torch.Tensor]:
    """A package's weights by the names that they have in torch; int8 ones come with a scale for each channel."""
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(package / "model.onnx").graph.initializer}
    state = {}
    for name, values in tensors.items():
        if name.endswith("/int8"):
            name = name.removesuffix("/int8")
            scale = tensors[f"{name}/scale"]
            values = values.astype(np.float32) * scale.reshape(-1, *[1] * (values.ndim - 1))
        if name.startswith(prefix) and not name.endswith("/scale"):
            state[name.removeprefix(prefix)] = torch.tensor(values)
    return state


if __name__ == "__main__":
    main()
