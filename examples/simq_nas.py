"""SimQ-NAS: images of your own to an INT8 ONNX file under a limit of latency. A few minutes.

Run it beside `winnow up`, in the folder that has your images:

    python examples/simq_nas.py my-images 0.5

The first argument is a folder that has a folder of images for each class; where it is missing, it is made of
scikit-learn's handwritten digits. The second is the limit in milliseconds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import winnow

SIZE = 8  # pixels a side; your own photographs need more, and a preset that takes them


def make_images(folder: Path) -> None:
    """Write scikit-learn's digits as PNG files, a folder for each class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / f"digit-{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(place / f"{number:04}.png")


def job_of(folder: Path, limit_ms: float) -> dict:
    """Search the architecture and the bits of every layer together, under a limit of measured latency."""
    return {
        "name": "example: own images to INT8",
        "recipe": "simq_nas",
        "supernet": {"family": "mobilenet", "preset": "digits"},
        "data": {"source": "images", "path": str(folder), "size": SIZE, "channels": 1},
        "training": {"epochs": 8, "seed": 0},
        "quantization": {"bits": [8, 32], "calibration_examples": 64, "sensitivity": False, "baseline_evaluations": 4},
        "objectives": [
            {"metric": "accuracy"},
            {"metric": "latency_ms", "target": "cpu-onnxruntime", "limit": limit_ms},
            {"metric": "size_bytes"},
        ],
        "search": {"evaluations": 40, "seed": 0},
        # The predictor learns from twenty measured networks, without a table of layers, and any quality will do.
        "hardware": {"seconds": 0.1, "networks": 20, "max_layers": 0, "min_within_10_percent": 0},
    }


def main(folder: Path, limit_ms: float) -> None:
    """From a folder of images to a file that runs."""
    if not folder.exists():
        make_images(folder)
    with winnow.Client() as client:
        front = client.submit(job_of(folder, limit_ms)).wait().front
        print(front.to_pandas()[["architecture_id", "accuracy", "latency_ms", "size_bytes"]].to_string(index=False))
        # The smallest file among those within the limit that lose at most two points to the best.
        best = front.best()
        good = [one for one in front.networks if one.metrics["accuracy"] >= best.metrics["accuracy"] - 0.02]
        chosen = min(good, key=lambda one: one.metrics["size_bytes"])
        bits = {name: value for name, value in chosen["values"].items() if name.endswith("bits")}
        print(f"chosen: {chosen.id}, {sum(value == 8 for value in bits.values())} of {len(bits)} layers in INT8")
        export = chosen.export("onnx")

    session = export.load()
    # The file says itself what it takes, and what its classes are called.
    facts = session.get_modelmeta().custom_metadata_map
    takes, names = json.loads(facts["preprocessing"]), json.loads(facts["class_names"])
    files = sorted(folder.glob("*/*.png"))[::10]
    pixels = np.stack([np.asarray(Image.open(file), np.float32)[None] for file in files]) * takes["full_scale"] / 255
    inputs = (pixels - takes["mean"][0]) / takes["std"][0]
    (logits,) = session.run(None, {session.get_inputs()[0].name: inputs.astype(np.float32)})
    right = sum(names[best] == file.parent.name for best, file in zip(logits.argmax(1), files, strict=True))
    print(f"{export.archive.name}: {right} of {len(files)} images right")


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    main(Path(arguments.get(1, "my-images")).resolve(), float(arguments.get(2, 1.0)))
