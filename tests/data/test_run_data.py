"""A run's images in batches."""

from __future__ import annotations

import numpy as np

from kilonet.data import RunData, load_dataset
from kilonet.spec import Run


def test_batches_are_a_function_of_seed_and_epoch(small_run: Run) -> None:
    images = RunData.of(small_run, load_dataset(small_run.data.name))
    batches = list(images.batches(small_run, 4))
    assert [batch.step for batch in batches] == list(range(40, 50))
    index = np.concatenate([batch.index for batch in batches])
    assert sorted(index) == list(range(640))
    again = np.concatenate([batch.index for batch in images.batches(small_run, 4)])
    np.testing.assert_array_equal(index, again)
    other = np.concatenate([batch.index for batch in images.batches(small_run, 5)])
    assert (index != other).any()
    for batch in batches:
        np.testing.assert_array_equal(batch.images, images.train_images[batch.index])
        np.testing.assert_array_equal(batch.labels, images.train_labels[batch.index])


def test_the_last_batch_is_what_remains(small_run: Run) -> None:
    run = small_run.replace({"train.batch_size": 100})
    images = RunData.of(run, load_dataset(run.data.name))
    assert [len(batch.labels) for batch in images.batches(run, 0)] == [100] * 6 + [40]
    assert images.steps_per_epoch(run) == 7
