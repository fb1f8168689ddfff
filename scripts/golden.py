"""Golden runs: check that a refactor changes no bit of a result.

    python scripts/golden.py record golden.json     # before the change
    python scripts/golden.py check golden.json      # after it

Trains three small networks with the torch engine and with the native engine on each instruction set
of the machine, and a study, by the command line alone: so two versions can be compared whatever
their modules. Recorded are the SHA-256 of each run's weights, test logits and steps, its epochs
without times, and the study's JSON without times and folders. Bits depend on the machine and on
PyTorch's version: record and check on the same machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

KILONET = f"{shlex.quote(sys.executable)} -m kilonet"
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")

NETS = {
    # As the bundled network: batch norm, dropout, pooling, a rotation; SGD with momentum.
    "notebook": """
[net]
input = [1, 14, 14]
block = ["conv", "relu", "batchnorm", "dropout 0.05"]
layers = ["conv 6", "conv 8 pad=1", "maxpool 2", "pointwise 6", "conv 8", "gap", "pointwise 4 bare"]
[data]
name = "images.npz"
augment = [{ name = "rotation", degrees = 7, fill = 1 }]
[train]
epochs = 2
batch_size = 32
""",
    # Strides, a residual, a linear layer with bias; AdamW on a cosine, smoothed labels.
    "residual": """
[net]
input = [1, 14, 14]
block = ["conv", "leaky_relu"]
layers = [
    "conv 8 stride=2 pad=1 bias", { residual = ["conv 8 pad=1", "conv 8 pad=1"] }, "flatten",
    "linear 4"
]
[data]
name = "images.npz"
augment = [{ name = "affine", degrees = 5, translate = [0.1, 0.1], resample = "bilinear" }]
[train]
epochs = 2
batch_size = 48
optimizer = { name = "adamw", lr = 0.002 }
schedule = "cosine"
label_smoothing = 0.1
""",
    # Groups, depthwise convolutions, other activations; one cycle, averaged weights, a split.
    "separable": """
[net]
input = [1, 14, 14]
block = ["conv", "silu", "batchnorm"]
layers = [
    "conv 8", "depthwise kernel=3 pad=1", "pointwise 12", "avgpool 2", "conv 12 groups=4",
    "hardswish", "gap", "pointwise 4 bare"
]
[data]
name = "images.npz"
augment = [{ name = "crop", padding = 1 }, { name = "erasing", p = 0.5 }]
validation = 60
[train]
epochs = 2
batch_size = 50
optimizer = { name = "sgd", lr = 0.02, momentum = 0.9, nesterov = true, weight_decay = 0.0005 }
schedule = { name = "onecycle", max_lr = 0.1 }
average = { name = "ema", decay = 0.9 }
""",
}
STUDY = """
name = "golden"
target = 60.0
seeds = 2
[net]
input = [1, 14, 14]
layers = ["conv 6", "maxpool 2", "conv 8", "gap", "pointwise 4 bare"]
[data]
name = "images.npz"
[train]
epochs = 3
batch_size = 32
[[stage]]
name = "Batch norm"
change = { "net.block" = ["conv", "relu", "batchnorm"] }
[[stage]]
name = "Higher rate"
change = { "train.optimizer.lr" = 0.05 }
"""


def main() -> int:
    """Record or check; exit code 1 if a result differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["record", "check"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--kilonet", default=KILONET, help="the command (%(default)s)")
    arguments = parser.parse_args()
    found = golden(shlex.split(arguments.kilonet))
    if arguments.what == "record":
        arguments.file.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{len(found)} golden results in {arguments.file}")
        return 0
    before = json.loads(arguments.file.read_text())
    differing = [
        name for name in sorted(before.keys() | found.keys()) if before.get(name) != found.get(name)
    ]
    for name in differing:
        print(f"{name}: differs")
    print(f"{len(before) - len(differing)} of {len(before)} golden results are equal")
    return 1 if differing else 0


def golden(kilonet: list[str]) -> dict[str, Any]:
    """Name → digests of each run, and the study's JSON."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "images.npz", **images())
        for net, toml in NETS.items():
            (folder / f"{net}.toml").write_text(toml)
            for engine, isa in [("torch", ""), *(("native", isa) for isa in INSTRUCTION_SETS)]:
                out = folder / f"{net}-{engine}-{isa}"
                options = ["--engine", engine, "--threads", "2", "--out", out.name]
                command = [*kilonet, "train", f"{net}.toml", *options]
                if output(command, folder=folder, isa=isa) is not None:
                    found[out.name.rstrip("-")] = digests(out)
        (folder / "study.toml").write_text(STUDY)
        options = ["--engine", "native", "--json"]
        command = [*kilonet, "study", "study.toml", "--out", "study", *options]
        text = output(command, folder=folder, isa="baseline")
        found["study"] = None if text is None else without_times(json.loads(text))
    return found


def images() -> dict[str, Any]:
    """A data set of four classes of noisy bars, 14 × 14 pixels."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 400), ("test", 200)):
        labels = rng.integers(0, 4, count)
        pixels = rng.integers(0, 90, (count, 14, 14))
        for image, label in zip(pixels, labels, strict=True):
            start = 2 + 3 * (label // 2)
            (image if label % 2 else image.T)[start : start + 3] += 80
        arrays[f"{split}_images"] = pixels.astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    return arrays


def output(command: list[str], *, folder: Path, isa: str) -> str | None:
    """The standard output of a command; None if the machine lacks the instruction set."""
    environment = {**os.environ, **({"KILONET_ISA": isa} if isa else {})}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode and "KILONET_ISA" in done.stderr:
        return None
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}: {done.stderr}")
    return done.stdout


def digests(folder: Path) -> dict[str, Any]:
    """SHA-256 of a run's arrays, and its epochs without times."""
    files = ("weights.safetensors", "predictions.npz", "steps.npz")
    found: dict[str, Any] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files
    }
    rows = map(json.loads, (folder / "epochs.jsonl").read_text().splitlines())
    found["epochs"] = [
        {k: v for k, v in row.items() if k not in ("seconds", "train_seconds", "crc32")}
        for row in rows
    ]
    return found


def without_times(data: Any) -> Any:
    """A study's JSON without times, folders and names of runs."""
    if isinstance(data, dict):
        return {
            k: without_times(v) for k, v in data.items() if k not in ("seconds", "folder", "run")
        }
    return [without_times(item) for item in data] if isinstance(data, list) else data


if __name__ == "__main__":
    sys.exit(main())
