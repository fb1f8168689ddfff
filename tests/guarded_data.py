"""A data set whose test images cannot be read."""

from __future__ import annotations

from typing import Any

from kilonet.data import Dataset, load_dataset


class TestSetReadError(AssertionError):
    """The test set was read."""

    __test__ = False


class GuardedDataset(Dataset):
    """Raises where its test images or labels are read; in other processes too."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("test_images", "test_labels") and object.__getattribute__(self, "__dict__").get(
            "guarded"
        ):
            raise TestSetReadError(name)
        return object.__getattribute__(self, name)


def load_guarded(name: str) -> Dataset:
    """As :func:`kilonet.data.load_dataset`."""
    found = load_dataset(name)
    dataset = GuardedDataset(
        name=found.name,
        train_images=found.train_images,
        train_labels=found.train_labels,
        test_images=found.test_images,
        test_labels=found.test_labels,
        classes=found.classes,
        source=found.source,
    )
    # It covers the test images too; a data set that is loaded knows it.
    dataset.__dict__["fingerprint"] = found.fingerprint
    dataset.__dict__["guarded"] = True
    return dataset
