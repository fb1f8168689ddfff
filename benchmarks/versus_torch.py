"""A training step of 20 varied networks: the native engine against PyTorch eager.

Both train on the same images in memory with SGD, without augmentation: kilonet's engine, and a
plain loop over the same network as ``torch.nn`` modules, with PyTorch's dropout. The two alternate;
a ratio is PyTorch's time over kilonet's.

    python benchmarks/versus_torch.py --out versus.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from kilonet.bench.timing import interleave
from kilonet.data import load_dataset
from kilonet.data.batch import Batch
from kilonet.engine import create_engine
from kilonet.engine.torch import build_module
from kilonet.spec import Net, Run, load_run
from kilonet.storage.atomic import write_atomically
from kilonet.storage.environment import cpu_name
from kilonet.table import Table

BATCH_SIZES = (1, 4, 16, 64, 128, 256, 1024)
MEAN, STD = (0.1307,), (0.3081,)
CONV_RELU = ["conv", "relu"]
NORMED = ["conv", "relu", "batchnorm"]
NORMED_FIRST = ["conv", "batchnorm", "relu"]
END = ["gap", "pointwise 10 bare"]

# name: input, block, layers
NETWORKS: dict[str, tuple[tuple[int, int, int], list[str], list]] = {
    "bundled": (
        (1, 28, 28),
        ["conv", "relu", "batchnorm", "dropout 0.01"],
        ["conv 8", "conv 16", "maxpool 2", "pointwise 8", "conv 12", "conv 12", "conv 16",
         "conv 16 pad=1", *END],
    ),
    "tiny": ((1, 28, 28), CONV_RELU, ["conv 4 stride=2", "conv 12 stride=2", *END]),
    "plain": ((1, 28, 28), CONV_RELU, ["conv 8", "maxpool 2", "conv 16", "maxpool 2", *END]),
    "wide": (
        (1, 28, 28), NORMED, ["conv 32", "maxpool 2", "conv 64", "maxpool 2", "conv 64", *END]
    ),
    "wider": (
        (1, 28, 28), NORMED_FIRST, ["conv 48 stride=2", "conv 96 stride=2 pad=1", "conv 48", *END]
    ),
    "deep": (
        (1, 28, 28),
        NORMED,
        ["conv 8", "conv 8", "maxpool 2", *["conv 8 pad=1"] * 12, "maxpool 2", "conv 16", *END],
    ),
    "deep and narrow": (
        (1, 28, 28), NORMED, ["conv 4 stride=2 pad=1", *["conv 4 pad=1"] * 20, *END]
    ),
    "depthwise": (
        (1, 28, 28),
        NORMED_FIRST,
        ["conv 16 stride=2 pad=1", "depthwise pad=1", "pointwise 32", "depthwise stride=2 pad=1",
         "pointwise 64", "depthwise pad=1", "pointwise 64", *END],
    ),
    "depthwise multiplier": (
        (1, 28, 28),
        CONV_RELU,
        ["conv 8", "maxpool 2", "depthwise kernel=5 multiplier=3", "pointwise 16", *END],
    ),
    "grouped": (
        (1, 28, 28),
        NORMED,
        ["conv 16", "maxpool 2", "conv 32 groups=4 pad=1", "conv 32 groups=8 pad=1", *END],
    ),
    "five by five": (
        (1, 28, 28), NORMED, ["conv 8 kernel=5", "maxpool 2", "conv 16 kernel=5", "maxpool 2", *END]
    ),
    "seven by seven": (
        (1, 28, 28), CONV_RELU, ["conv 12 kernel=7 stride=2 pad=3", "conv 24 kernel=7 pad=3", *END]
    ),
    "one by many": (
        (1, 28, 28),
        NORMED,
        ["conv 12 kernel=1x7", "conv 12 kernel=7x1", "maxpool 2", "conv 24 kernel=1x5",
         "conv 24 kernel=5x1", *END],
    ),
    "strided": (
        (1, 28, 28),
        NORMED,
        ["conv 16 stride=2 pad=1", "conv 24 stride=2 pad=1", "conv 32 stride=2 pad=1", *END],
    ),
    "residual": (
        (1, 28, 28),
        NORMED_FIRST,
        ["conv 16 stride=2 pad=1", {"residual": ["conv 16 pad=1", "conv 16 pad=1"]}, "relu",
         "conv 32 stride=2 pad=1", {"residual": ["conv 32 pad=1", "conv 32 pad=1"]}, "relu", *END],
    ),
    "LeNet": (
        (1, 28, 28),
        CONV_RELU,
        ["conv 6 kernel=5 pad=2 bias", "avgpool 2", "conv 16 kernel=5 bias", "avgpool 2", "flatten",
         "linear 120", "relu", "linear 84", "relu", "linear 10"],
    ),
    "perceptron": ((1, 28, 28), CONV_RELU, ["flatten", "linear 100", "relu", "linear 10"]),
    "linear": ((1, 28, 28), CONV_RELU, ["flatten", "linear 10"]),
    "SiLU, average pools": (
        (1, 28, 28),
        ["conv", "batchnorm", "silu", "dropout 0.1"],
        ["conv 12 pad=1", "avgpool 2", "conv 24 pad=1", "avgpool 2", "conv 32", *END],
    ),
    "color, hard-swish": (
        (3, 32, 32),
        ["conv", "batchnorm", "hardswish"],
        ["conv 16 pad=1", "conv 16 pad=1", "maxpool 2", "conv 32 pad=1", "maxpool 2", "conv 48",
         *END],
    ),
}  # fmt: skip


def network(name: str) -> Net:
    shape, block, layers = NETWORKS[name]
    return Net.from_dict({"input": list(shape), "block": block, "layers": layers})


def images_for(net: Net, count: int) -> np.ndarray:
    """(count, h, w[, c]) uint8: digits, or noise for networks of another input."""
    if net.input == (1, 28, 28):
        return np.ascontiguousarray(load_dataset("mnist").train_images[:count])
    channels, height, width = net.input
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def native_step(run: Run, images: np.ndarray, labels: np.ndarray, threads: int | None) -> Callable:
    channels = run.net.input[0]
    engine = create_engine(
        run, engine="native", mean=MEAN * channels, std=STD * channels, threads=threads
    )
    index = np.arange(len(images))
    step = 0

    def one() -> float:
        nonlocal step
        step += 1
        batch = Batch(images=images, labels=labels, index=index, epoch=0, step=step)
        return engine.step(batch, 0.01).loss

    return one


def torch_step(net: Net, images: np.ndarray, labels: np.ndarray) -> Callable:
    model = build_module(net).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    batch = torch.tensor(images).reshape(len(images), *images.shape[1:3], -1)
    x = ((batch.permute(0, 3, 1, 2).float() / 255 - MEAN[0]) / STD[0]).contiguous()
    y = torch.tensor(labels)

    def one() -> float:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return one


def compare(name: str, size: int, *, repeats: int, threads: int | None) -> dict[str, float]:
    """Milliseconds of a step of both, and their ratio; both are verified first."""
    net = network(name)
    base = load_run("interim")
    run = base.replace({"net": net.to_dict(), "data.augment": []})
    images, labels = images_for(net, size), load_dataset("mnist").train_labels[:size]
    sides = {
        "native": native_step(run, images, labels, threads),
        "torch": torch_step(net, images, labels),
    }
    for side, step in sides.items():
        # Verified before timing: steps on one batch must lower its loss. A deep network needs more
        # than five steps, in PyTorch too.
        losses = [step() for _ in range(15)]
        if not all(map(math.isfinite, losses)) or min(losses[1:]) >= losses[0]:
            raise SystemExit(f"{name}, batch {size}: {side} does not learn: {losses}")
    timings = interleave(sides, repeats=repeats, round_seconds=0.05)
    ratio = timings["native"].ratio_of(timings["torch"])
    return {
        "native_ms": 1e3 * timings["native"].median,
        "torch_ms": 1e3 * timings["torch"].median,
        "ratio": ratio.median,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
    }


def table(found: dict[str, dict[str, dict[str, float]]]) -> Table:
    def cell(name: str, size: int) -> str:
        row = found.get(name, {}).get(str(size))
        return "–" if row is None else f"{row['ratio']:.1f}"

    rows = [
        (name, f"{network(name).num_parameters:,}", *(cell(name, size) for size in BATCH_SIZES))
        for name in NETWORKS
    ]
    columns = ("Network", "Parameters", *(f"Batch {size:,}" for size in BATCH_SIZES))
    return Table(columns=columns, rows=tuple(rows), left=frozenset({0}))


def to_json(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """The machine, and network → batch size → times and their ratio."""
    threads = torch.get_num_threads()
    made = {"cpu": cpu_name(), "threads": threads, "torch": torch.__version__}
    return json.dumps({**made, "networks": found}, indent=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    parser.add_argument("--threads", type=int, help="of both (all)")
    parser.add_argument("--only", action="append", choices=NETWORKS, help="these networks alone")
    parser.add_argument(
        "--out", type=Path, help="a JSON file; what it has already is not measured again"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    found: dict[str, dict[str, dict[str, float]]] = {}
    if options.out and options.out.is_file():
        found = json.loads(options.out.read_text("utf-8"))["networks"]
    for name in options.only or NETWORKS:
        for size in BATCH_SIZES:
            if str(size) in found.setdefault(name, {}):
                continue
            found[name][str(size)] = compare(
                name, size, repeats=options.repeats, threads=options.threads
            )
            if options.out:
                write_atomically(options.out, to_json(found).encode())
    if options.json:
        print(to_json(found))
        return
    print(f"{cpu_name()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print("The time of a training step in PyTorch eager over that in kilonet:\n")
    print(table(found).to_markdown())
    every = [(row["ratio"], name, n) for name, rows in found.items() for n, row in rows.items()]
    ratio, name, size = min(every)
    slower = sum(each[0] < 1 for each in every)
    print(f"\nThe worst: {name}, batch {size}: {ratio:.2f}")
    print(f"PyTorch is faster in {slower} of {len(every)}")


if __name__ == "__main__":
    main()
