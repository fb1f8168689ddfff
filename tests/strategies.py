"""Random valid networks, for the tests that must hold for every network."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from kilonet.errors import NetError
from kilonet.spec import Net

ACTIVATIONS = ["relu", "leaky_relu", "leaky_relu slope=0.2", "silu", "hardswish"]
NORMS = [
    "batchnorm",
    "batchnorm eps=0.001 momentum=0.3",
    "batchnorm noaffine",
    "batchnorm momentum=0.2 noscale",
]
OF_AN_IMAGE = ["layernorm", "groupnorm 1 noscale", "instancenorm affine", "se", "se reduction=2"]
"""Members of a block that need no batch; groups of one value are refused."""


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
    """A network that can be built: kernels 1 to 7, strides, groups, residuals, repeats, odd sizes.

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
                ["flatten", "linear 6", "groupnorm 2", "relu", f"linear {classes}"],
                ["flatten", {"residual": ["relu"]}, f"linear {classes} nobias"],
                ["gap", "flatten", f"linear {classes}"],
            ]
        )
    )
    block = draw(blocks(dropout=dropout))
    try:
        return Net(input=net_input, block=block, layers=layers)
    except NetError:
        # A normalization of single values, or the mean of a channel that is normalized.
        block = ["batchnorm" if member in OF_AN_IMAGE else member for member in block]
        layers = ["batchnorm" if _is_by_channel(line) else line for line in layers]
        return Net(input=net_input, block=block, layers=layers)


def _is_by_channel(line: Any) -> bool:
    return isinstance(line, str) and line.startswith(("groupnorm", "instancenorm", "layernorm"))


@st.composite
def blocks(draw: st.DrawFn, *, dropout: bool = True) -> list[str]:
    """What a convolution expands to."""
    around = [draw(st.sampled_from(ACTIVATIONS))]
    around += draw(st.sampled_from([[], [], *([norm] for norm in NORMS + OF_AN_IMAGE)]))
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
    kinds += ["repeat"]
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
        case "residual" if padding and draw(st.booleans()):
            # A strided body, and a projection to its shape.
            stride = draw(st.sampled_from([1, 2, 3]))
            body = [*draw(_bodies(shape, padding=padding, depth=2))]
            body += [f"conv {out} stride={stride} pad=1{bias}{bare}"]
            projection = f"pointwise {out} stride={stride} bare"
            # Rarely with a norm: before a mean of all pixels its gradient cancels to zero.
            after = draw(st.sampled_from([[], [], ["silu"], [NORMS[0]]]))
            shortcut: list[Any] = [projection, *after]
            if stride == 1 and draw(st.booleans()):
                shortcut = [f"conv {out} kernel=2 pad=same", {"residual": ["relu"]}]
            size = ((height - 1) // stride + 1, (width - 1) // stride + 1)
            return {"residual": body, "shortcut": shortcut}, (out, *size)
        case "residual":
            return {"residual": draw(_bodies(shape, padding=padding, depth=1))}, shape
        case "repeat":
            times = draw(st.integers(1, 3))
            body = draw(_bodies(shape, padding=padding, depth=1))
            if draw(st.booleans()):
                body.append({"repeat": draw(_bodies(shape, padding=padding, depth=3)), "times": 2})
            # The same weights at the sizes before and after a pool.
            if min(height, width) >= 2**times and draw(st.booleans()):
                body.append("maxpool 2")
                height, width = height // 2**times, width // 2**times
            return {"repeat": body, "times": times}, (channels, height, width)
    others = [*ACTIVATIONS, *NORMS, *_norms(shape), "se reduction=3"]
    others += ["dropout 0.2"] if dropout else []
    return draw(st.sampled_from(others)), shape


def _norms(shape: Shape) -> list[str]:
    """Normalizations of an image: with as many groups as divide its channels, down to pairs."""
    channels, height, width = shape
    values = channels * height * width
    groups = [g for g in range(1, channels + 1) if channels % g == 0 and g < values]
    lines = [f"groupnorm {g}{flag}" for g in groups for flag in ("", " noaffine", " noscale")]
    lines += ["layernorm eps=0.001"] if values > 1 else []
    return lines + (["instancenorm", "instancenorm affine"] if height * width > 1 else [])


@st.composite
def _window(
    draw: st.DrawFn, size: tuple[int, int], *, padding: bool
) -> tuple[str, tuple[int, int]]:
    """kernel, stride, pad and dilation of a convolution, and the size that comes out."""
    if padding and draw(st.integers(0, 4)) == 0:
        both = [draw(st.integers(1, 6)) for _ in "hw"], [draw(st.integers(1, 3)) for _ in "hw"]
        return f" kernel={_sizes(both[0])} pad=same dilation={_sizes(both[1])}", size
    dilated = draw(st.integers(0, 3)) == 0
    dilations = []
    kernels, strides, pads, out = [], [], [], []
    for length in size:
        pad = draw(st.integers(0, 3)) if padding else 0
        kernel = draw(st.integers(1, min(7, length + 2 * pad)))
        stride = draw(st.sampled_from([1, 1, 2, 3]))
        room = (length + 2 * pad - 1) // (kernel - 1) if kernel > 1 else 4
        dilations.append(draw(st.integers(1, min(4, room))) if dilated else 1)
        kernels.append(kernel)
        strides.append(stride)
        pads.append(pad)
        out.append((length + 2 * pad - dilations[-1] * (kernel - 1) - 1) // stride + 1)
    text = f" kernel={_sizes(kernels)} stride={_sizes(strides)}"
    text += f" pad={_sizes(pads)}" if any(pads) else ""
    text += f" dilation={_sizes(dilations)}" if dilated else ""
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
            ["se"],
            *([norm] for norm in _norms(shape)),
        ]
        if depth < 3:
            choices.append([{"residual": draw(_bodies(shape, padding=padding, depth=depth + 1))}])
        body += draw(st.sampled_from(choices))
    return [*body, f"pointwise {channels} bare"]


def _sizes(pair: list[int]) -> str:
    return f"{pair[0]}x{pair[1]}"
