"""A data set of color images whose class names try to break out of a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kilonet.data import Dataset

HOSTILE = "<script>alert(1)</script>"
COLORS = (HOSTILE, "green & gold", 'a "quoted" class')


def color_dataset(name: str) -> Dataset:
    """8 × 8 noise, one channel brighter: the class; every fourth test label is wrong on purpose."""
    rng = np.random.default_rng(0)

    def images(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        pixels = rng.integers(0, 120, (count, 8, 8, 3))
        pixels[np.arange(count), :, :, labels] += 100
        return pixels.astype(np.uint8), labels

    train_images, train_labels = images(192)
    test_images, test_labels = images(48)
    test_labels[::4] = (test_labels[::4] + 1) % 3
    return Dataset(
        name=Path(name).stem,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=COLORS,
    )
