"""The float32 error of Winograd's algorithm for 3 × 3 taps, against that of a plain sum.

The matrices are made from the points where polynomials are evaluated, as described in
native/kernels/winograd_transforms.h. Inputs are normal, negative ones set to zero as after a ReLU;
taps are normal. An error is the norm relative to that of the result in float64.

    python benchmarks/winograd_error.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILES = 300
CHANNELS = (8, 16, 40)
POINTS: dict[str, tuple[int, tuple[float, ...]]] = {
    "F(2 x 2), 0, ±1": (2, (0, 1, -1)),
    "F(4 x 4), 0, ±1, ±2": (4, (0, 1, -1, 2, -2)),
    "F(4 x 4), 0, ±5/8, ±3/2": (4, (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2)),
}
Matrix = NDArray[np.float64]


def matrices(m: int, points: tuple[float, ...]) -> tuple[Matrix, Matrix, Matrix]:
    """Aᵀ (m, n), G (n, 3) and Bᵀ (n, n) of F(m, 3), n = m + 2; the last row is infinity's."""
    n = m + 2
    a, g, b = np.zeros((n, m)), np.zeros((n, 3)), np.zeros((n, n))
    for row, point in enumerate(points):
        others = [p for p in points if p != point]
        a[row] = point ** np.arange(m)
        g[row] = point ** np.arange(3) / np.prod([point - p for p in others])
        b[row, : n - 1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(points)[::-1]
    return a.T, g, b


def errors(m: int, points: tuple[float, ...], *, channels: int) -> tuple[float, float]:
    """Relative norms of the errors of Winograd's sum and of the plain one, both in float32."""
    rng = np.random.default_rng(0)
    n = m + 2
    d = np.maximum(rng.standard_normal((TILES, channels, n, n)), 0).astype(np.float32)
    taps = rng.standard_normal((TILES, channels, 3, 3)).astype(np.float32)
    at, g, bt = matrices(m, points)
    u = (g @ taps.astype(np.float64) @ g.T).astype(np.float32)
    at, bt = at.astype(np.float32), bt.astype(np.float32)
    v = bt @ d @ bt.T
    products = np.zeros((TILES, n, n), np.float32)
    plain, exact = np.zeros((TILES, m, m), np.float32), np.zeros((TILES, m, m))
    for c in range(channels):
        products += u[:, c] * v[:, c]
        for i in range(3):
            for j in range(3):
                tap, window = taps[:, c, i, j, None, None], d[:, c, i : i + m, j : j + m]
                plain += tap * window
                exact += tap.astype(np.float64) * window
    size = float(np.linalg.norm(exact))
    found = at @ products @ at.T
    return float(np.linalg.norm(found - exact)) / size, float(np.linalg.norm(plain - exact)) / size


def main() -> None:
    """Print a line for each algorithm and number of channels."""
    for name, (m, points) in POINTS.items():
        for channels in CHANNELS:
            found, plain = errors(m, points, channels=channels)
            print(
                f"{name:24}  {channels:2} channels  {found:.1e}, {found / plain:.1f} times the "
                "plain sum's"
            )


if __name__ == "__main__":
    main()
