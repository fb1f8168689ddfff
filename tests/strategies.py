"""Random valid networks, for the tests that must hold for every network."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from kilonet.spec import Net

ACTIVATIONS = ["relu", "leaky_relu", "leaky_relu slope=0.2", "silu", "hardswish"]
NORMS = ["batchnorm", "batchnorm eps=0.001 momentum=0.3"]


@st.composite
def nets(
    draw: st.DrawFn,
    *,
    padding: bool = True,
    max_lines: int = 6,
    max_channels: int = 40,
    dropout: bool = True,
    sizes: tuple[int, int] = (1, 19),
) -> Net:
    """A network that can be built: kernels 1 to 7, strides, groups, residuals, odd sizes.

    Args:
        draw: Hypothesis's.
        padding: whether windows may be padded; without it residuals hold 1 × 1 convolutions only.
        max_lines: lines before the head.
        max_channels: of any layer.
        dropout: whether it may occur.
        sizes: least and most height and width of the input.
    """
    channels = draw(st.integers(1, 4))
    height, width = draw(st.integers(*sizes)), draw(st.integers(*sizes))
    net_input = (channels, height, width)
    shape = net_input
    layers: list[Any] = []
    for _ in range(draw(st.integers(0, max_lines))):
        line, shape = draw(
            _lines(shape, padding=padding, max_channels=max_channels, dropout=dropout)
        )
        layers.append(line)
    classes = draw(st.integers(2, 12))
    layers += draw(
        st.sampled_from(
            [
                ["gap", f"pointwise {classes} bare"],
                ["gap", f"pointwise {classes} bare bias"],
                ["flatten", f"linear {classes}"],
                ["flatten", "linear 7 nobias", "batchnorm", "relu", f"linear {classes}"],
                ["flatten", {"residual": ["relu"]}, f"linear {classes} nobias"],
                ["gap", "flatten", f"linear {classes}"],
            ]
        )
    )
    return Net(input=net_input, block=draw(blocks(dropout=dropout)), layers=layers)


@st.composite
def blocks(draw: st.DrawFn, *, dropout: bool = True) -> list[str]:
    """What a convolution expands to."""
    around = [draw(st.sampled_from(ACTIVATIONS))]
    around += draw(st.sampled_from([[], [], [NORMS[0]], [NORMS[1]]]))
    around += draw(st.sampled_from([[], ["dropout 0.1"]])) if dropout else []
    around = draw(st.permutations(around))
    place = draw(st.integers(0, len(around)))
    return [*around[:place], "conv", *around[place:]]


Shape = tuple[int, int, int]


@st.composite
def _lines(
    draw: st.DrawFn, shape: Shape, *, padding: bool, max_channels: int, dropout: bool
) -> tuple[Any, Shape]:
    channels, height, width = shape
    out = draw(st.integers(1, max_channels))
    bias = draw(st.sampled_from(["", "", " bias"]))
    bare = draw(st.sampled_from(["", "", " bare"]))
    kinds = ["conv", "conv", "grouped", "pointwise", "depthwise", "pool", "residual", "other"]
    match draw(st.sampled_from(kinds)):
        case "conv":
            text, size = draw(_window((height, width), padding=padding))
            return f"conv {out}{text}{bias}{bare}", (out, *size)
        case "grouped":
            groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
            out = groups * draw(st.integers(1, max(1, max_channels // groups)))
            text, size = draw(_window((height, width), padding=padding))
            return f"conv {out}{text} groups={groups}{bias}{bare}", (out, *size)
        case "pointwise":
            return f"pointwise {out}{bias}{bare}", (out, height, width)
        case "depthwise":
            multiplier = draw(st.integers(1, max(1, min(3, max_channels // channels))))
            text, size = draw(_window((height, width), padding=padding))
            line = f"depthwise{text} multiplier={multiplier}{bias}{bare}"
            return line, (channels * multiplier, *size)
        case "pool":
            word = draw(st.sampled_from(["maxpool", "avgpool"]))
            text, size = draw(_pool((height, width), padding=padding))
            return f"{word} {text}", (channels, *size)
        case "residual":
            return {"residual": draw(_bodies(shape, padding=padding, depth=1))}, shape
    others = [*ACTIVATIONS, *NORMS] + (["dropout 0.2"] if dropout else [])
    return draw(st.sampled_from(others)), shape


@st.composite
def _window(
    draw: st.DrawFn, size: tuple[int, int], *, padding: bool
) -> tuple[str, tuple[int, int]]:
    """kernel, stride and pad of a convolution, and the size that comes out."""
    kernels, strides, pads, out = [], [], [], []
    for length in size:
        pad = draw(st.integers(0, 3)) if padding else 0
        kernel = draw(st.integers(1, min(7, length + 2 * pad)))
        stride = draw(st.sampled_from([1, 1, 2, 3]))
        kernels.append(kernel)
        strides.append(stride)
        pads.append(pad)
        out.append((length + 2 * pad - kernel) // stride + 1)
    text = f" kernel={_sizes(kernels)} stride={_sizes(strides)}" + (
        f" pad={_sizes(pads)}" if any(pads) else ""
    )
    return text, (out[0], out[1])


@st.composite
def _pool(draw: st.DrawFn, size: tuple[int, int], *, padding: bool) -> tuple[str, tuple[int, int]]:
    kernels, strides, pads, out = [], [], [], []
    for length in size:
        kernel = draw(st.integers(1, min(4, length)))
        stride = draw(st.integers(1, 3))
        pad = draw(st.integers(0, kernel // 2)) if padding else 0
        kernels.append(kernel)
        strides.append(stride)
        pads.append(pad)
        out.append((length + 2 * pad - kernel) // stride + 1)
    pad_text = f" pad={_sizes(pads)}" if any(pads) else ""
    return f"{_sizes(kernels)} stride={_sizes(strides)}{pad_text}", (out[0], out[1])


@st.composite
def _bodies(draw: st.DrawFn, shape: Shape, *, padding: bool, depth: int) -> list[Any]:
    """A residual's layers, of stride 1, so that the branches stay aligned."""
    channels = shape[0]
    body: list[Any] = []
    for _ in range(draw(st.integers(0, 2))):
        kernel = draw(st.sampled_from([1, 3, 5])) if padding else 1
        same = f"kernel={kernel} pad={kernel // 2}"
        inner = draw(st.integers(1, 12))
        choices: list[list[Any]] = [
            [f"conv {inner} {same}", f"conv {channels} {same}"],
            [f"depthwise {same}", f"pointwise {channels}"],
            ["relu"],
            ["batchnorm"],
        ]
        if depth < 3:
            choices.append([{"residual": draw(_bodies(shape, padding=padding, depth=depth + 1))}])
        body += draw(st.sampled_from(choices))
    return [*body, f"pointwise {channels} bare"]


def _sizes(pair: list[int]) -> str:
    return f"{pair[0]}x{pair[1]}"
