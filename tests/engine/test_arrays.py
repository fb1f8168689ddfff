from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kilonet.engine.arrays import checked_arrays
from kilonet.errors import StorageError

LIKE = {"w": np.zeros((2, 3), np.float32), "n": np.zeros((), np.int64)}


def test_copies_in_the_engines_order_type_and_layout() -> None:
    w = np.arange(6, dtype=np.float64).reshape(3, 2).T
    found = checked_arrays({"n": np.int32(4), "w": w}, like=LIKE, where="weights", exact=False)
    assert list(found) == ["w", "n"]
    assert found["w"].dtype == np.float32
    assert found["w"].flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found["w"], [[0, 2, 4], [1, 3, 5]])
    assert found["n"].dtype == np.int64
    assert found["n"] == 4
    w[0, 0] = 9
    assert found["w"][0, 0] == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"v": np.zeros(1)}, "file: unknown array 'v'"),
        ({"w": np.zeros(6, np.float32)}, r"file: array 'w' has the shape \(6,\), not \(2, 3\)"),
        ({"n": np.float32(1)}, "file: array 'n' is float32, not int64"),
        ({"w": np.full((2, 3), "x")}, "file: array 'w' is <U1, not float32"),
    ],
)
def test_what_cannot_be_taken(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(StorageError, match=problem) as caught:
        checked_arrays({**LIKE, **change}, like=LIKE, where="file", exact=False)
    assert "\n" not in str(caught.value)


def test_missing_and_inexact() -> None:
    with pytest.raises(StorageError, match="array 'n' is missing"):
        checked_arrays({"w": LIKE["w"]}, like=LIKE, where="file", exact=True)
    wide = {**LIKE, "w": np.zeros((2, 3))}
    with pytest.raises(StorageError, match="array 'w' is float64, not float32"):
        checked_arrays(wide, like=LIKE, where="file", exact=True)
