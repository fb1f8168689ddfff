"""One training epoch with rotation: kilonet's engine beside the notebook's own way.

The notebook's way is what the seed notebook does: a DataLoader with worker processes that rotates
each digit with Pillow, a plain PyTorch module, SGD. Both sides do 60,000 images in batches of 128
and one evaluation of 10,000, in turn, several times; the median of the ratios is what counts, as
machines are shared and seconds do not travel.

    python benchmarks/notebook_epoch.py --repeats 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from kilonet.data import Dataset, load_dataset
from kilonet.engine import create_engine
from kilonet.environment import cpu_name
from kilonet.run import Images
from kilonet.spec import load_run

MEAN, STD = 0.1307, 0.3081


class Digits(TorchDataset):
    """MNIST as torchvision's data set hands it out: one Pillow image at a time, transformed."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, rotate: bool) -> None:
        self.images, self.labels, self.rotate = images, labels, rotate

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        picture = Image.fromarray(self.images[index])
        if self.rotate:
            angle = float(torch.empty(1).uniform_(-7.0, 7.0).item())
            picture = picture.rotate(angle, fillcolor=1)
        pixels = torch.from_numpy(np.array(picture)).to(torch.float32).div(255)
        return ((pixels - MEAN) / STD)[None], int(self.labels[index])


def block(inputs: int, outputs: int, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=padding, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
        nn.Dropout(0.01),
    )


def notebook_net() -> nn.Sequential:
    """The notebook's network, layer by layer."""
    return nn.Sequential(
        block(1, 8),
        block(8, 16),
        nn.MaxPool2d(2, 2),
        nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.ReLU()),
        block(8, 12),
        block(12, 12),
        block(12, 16),
        block(16, 16, padding=1),
        nn.AvgPool2d(6),
        nn.Conv2d(16, 10, 1, bias=False),
        nn.Flatten(),
        nn.LogSoftmax(dim=-1),
    )


def notebook_epoch(dataset: Dataset, *, workers: int) -> Callable[[], float]:
    """A function that trains and tests one epoch the notebook's way and returns its accuracy."""
    settings = {"batch_size": 128, "shuffle": True, "num_workers": workers}
    train_set = Digits(dataset.train_images, dataset.train_labels, rotate=True)
    test_set = Digits(dataset.test_images, dataset.test_labels, rotate=False)
    loaders = DataLoader(train_set, **settings), DataLoader(test_set, **settings)
    torch.manual_seed(1)
    model = notebook_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def epoch() -> float:
        model.train()
        seen = 0
        for images, labels in loaders[0]:
            optimizer.zero_grad()
            output = model(images)
            loss = functional.nll_loss(output, labels)
            loss.backward()
            optimizer.step()
            # The notebook reads loss and accuracy after every batch for its progress bar.
            seen += int(output.argmax(dim=1).eq(labels).sum().item()) + int(loss.item() < 0)
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in loaders[1]:
                correct += int(model(images).argmax(dim=1).eq(labels).sum().item())
        return 100.0 * correct / len(test_set)

    return epoch


def kilonet_epoch(dataset: Dataset) -> Callable[[], float]:
    """The same with kilonet's engine."""
    run = load_run("interim")
    images = Images.of(run, dataset)
    engine = create_engine(run, mean=images.mean, std=images.std)
    epochs = iter(range(1_000_000))

    def epoch() -> float:
        for batch in images.batches(run, next(epochs)):
            engine.step(batch, 0.01)
        return engine.evaluate(images.test_images, images.test_labels).accuracy

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="timed epochs a side (3)")
    parser.add_argument("--workers", type=int, default=4, help="the notebook's DataLoader (4)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    # Four workers on fewer cores draw a warning; they are what the notebook asks for.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    dataset = load_dataset("mnist")
    sides = {
        "notebook": notebook_epoch(dataset, workers=options.workers),
        "kilonet": kilonet_epoch(dataset),
    }
    for name, epoch in sides.items():
        # Verify before timing: an epoch that did not learn is not worth a time.
        accuracy = epoch()
        if accuracy < 95:
            raise SystemExit(f"{name}: {accuracy:.2f} % after one epoch; it should be above 95")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, epoch in sides.items():
            began = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - began)
    pairs = zip(seconds["notebook"], seconds["kilonet"], strict=True)
    ratios = [notebook / ours for notebook, ours in pairs]
    found = {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "repeats": options.repeats,
        "notebook_seconds": statistics.median(seconds["notebook"]),
        "kilonet_seconds": statistics.median(seconds["kilonet"]),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['cpu']}, {found['threads']} threads, {options.repeats} epochs a side, medians")
    print(f"the notebook's way  {found['notebook_seconds']:6.2f} s an epoch")
    print(f"kilonet             {found['kilonet_seconds']:6.2f} s an epoch")
    spread = f"{found['ratio_min']:.2f} to {found['ratio_max']:.2f}"
    print(f"kilonet is {found['ratio']:.2f} times as fast ({spread})")


if __name__ == "__main__":
    main()
