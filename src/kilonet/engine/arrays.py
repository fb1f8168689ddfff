"""Validation of named arrays before an engine copies them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kilonet.errors import StorageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kilonet.engine.base import Arrays


def checked_arrays(
    arrays: Arrays, *, like: Arrays, where: str, exact: bool
) -> dict[str, NDArray[np.generic]]:
    """Copies of ``arrays`` in the order, types and C layout of ``like``.

    Args:
        arrays: name → array.
        like: arrays of the expected names, shapes and types.
        where: what the arrays are, for the error message.
        exact: whether types must be equal; else float64 may become float32, for example.

    Raises:
        StorageError: naming the first array that is unknown, missing, or of another shape or type.
    """
    advice = "load the arrays of this network and training"
    for name in arrays:
        if name not in like:
            raise StorageError(f"{where}: unknown array {name!r}; {advice}")
    checked: dict[str, NDArray[np.generic]] = {}
    for name, expected in like.items():
        if name not in arrays:
            raise StorageError(f"{where}: array {name!r} is missing; {advice}")
        array = np.asarray(arrays[name])
        if array.shape != expected.shape:
            raise StorageError(
                f"{where}: array {name!r} has the shape {array.shape}, not {expected.shape}; "
                f"{advice}"
            )
        same = array.dtype == expected.dtype
        if not same and (exact or not np.can_cast(array.dtype, expected.dtype, "same_kind")):
            raise StorageError(
                f"{where}: array {name!r} is {array.dtype}, not {expected.dtype}; {advice}"
            )
        checked[name] = np.array(array, dtype=expected.dtype, order="C")
    return checked
