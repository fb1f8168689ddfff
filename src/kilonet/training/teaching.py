"""Soft targets that are the same in every epoch: computed once, before the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kilonet.data import RunData
    from kilonet.engine import Engine
    from kilonet.spec import Run


def known_targets(run: Run, data: RunData, engine: Engine) -> NDArray[np.float32] | None:
    """The teachers' probabilities for all images that are trained on, without augmentation.

    With augmentation a teacher sees another image in every epoch, so the engine asks it in each
    step: None, as for a run without teachers.

    Returns:
        (training images, classes) float32; rows of images that are held out are zeros.
    """
    if run.train.teacher is None or run.data.augment:
        return None
    index = data.train_index
    targets = np.zeros((len(data.train_labels), run.net.num_classes), np.float32)
    targets[index] = engine.soft_targets(data.train_images[index])
    return targets
