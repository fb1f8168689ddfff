"""The layers that are one line of text each. :mod:`kilonet.spec.notation` parses the lines."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from kilonet.spec.base import InvalidSpecError, Spec


def _pair(value: Any) -> Any:
    """(height, width) of one size for both axes, a pair, or the text ``3x1``."""
    if isinstance(value, str):
        parts = value.split("x")
        if len(parts) > 2 or not all(part.isdecimal() for part in parts):
            raise ValueError(f"{value!r} should be a size such as 3 or 3x1")
        value = tuple(int(part) for part in parts)
        value = value * 2 if len(value) == 1 else value
    return (value, value) if isinstance(value, int) else value


def _pair_text(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


# Far more than a small network needs, and few enough that products of sizes fit in memory.
_Size = Annotated[int, Field(ge=1, le=4096)]
_Sizes = Annotated[tuple[_Size, _Size], BeforeValidator(_pair)]
_Pad = Annotated[int, Field(ge=0, le=4096)]
_Pads = Annotated[tuple[_Pad, _Pad], BeforeValidator(_pair)]
_EPS = Field(default=1e-5, gt=0, allow_inf_nan=False)


def _same_or_pair(value: Any) -> Any:
    if value == "same":
        return value
    try:
        return _pair(value)
    except ValueError as error:
        raise ValueError(f"{error}, or same") from None


_ConvPads = Annotated[tuple[_Pad, _Pad] | Literal["same"], BeforeValidator(_same_or_pair)]


class Layer(Spec):
    """One line of a network: ``str`` formats it, ``parse_layer`` parses it."""

    word: ClassVar[str]
    main: ClassVar[str | None] = None

    def __str__(self) -> str:
        words = [self.word]
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            text = _pair_text(value) if isinstance(value, tuple) else f"{value}"
            if name == self.main:
                words.append(text)
            elif value is not None and value != field.default:
                words.append(name if value is True else f"{name}={text}")
        return " ".join(words)

    def to_line(self) -> Any:
        """What ``parse_layer`` takes: its text, or its table."""
        return str(self)

    def _identity(self) -> Any:
        return self.to_line()

    @model_serializer(mode="plain")
    def _serialize(self) -> Any:
        # Pydantic serializes all of a network's layers by this base class.
        return self.to_line()


class Conv(Layer):
    """A convolution, in the network's block unless ``bare``."""

    word = "conv"
    main = "out"
    out: _Size
    kernel: _Sizes = (3, 3)
    stride: _Sizes = (1, 1)
    pad: _ConvPads = (0, 0)
    dilation: _Sizes = (1, 1)
    groups: _Size = 1
    bias: bool = False
    bare: bool = False

    @model_validator(mode="after")
    def _same_size_needs_stride_1(self) -> Conv:
        _check_same(self)
        return self


class Pointwise(Layer):
    """A 1 × 1 convolution and the block's activation; the convolution alone if ``bare``."""

    word = "pointwise"
    main = "out"
    out: _Size
    stride: _Sizes = (1, 1)
    groups: _Size = 1
    bias: bool = False
    bare: bool = False


class Depthwise(Layer):
    """A convolution of each channel by itself, in the network's block unless ``bare``."""

    word = "depthwise"
    kernel: _Sizes = (3, 3)
    stride: _Sizes = (1, 1)
    pad: _ConvPads = (0, 0)
    dilation: _Sizes = (1, 1)
    multiplier: _Size = 1
    bias: bool = False
    bare: bool = False

    @model_validator(mode="after")
    def _same_size_needs_stride_1(self) -> Depthwise:
        _check_same(self)
        return self


def _check_same(layer: Conv | Depthwise) -> None:
    if layer.pad == "same" and layer.stride != (1, 1):
        stride = _pair_text(layer.stride)
        problem = f"same needs stride=1, not {stride}, as in PyTorch; give it as a number"
        raise InvalidSpecError(problem, path=("pad",))


class Relu(Layer):
    """max(x, 0)."""

    word = "relu"


class LeakyRelu(Layer):
    """x where positive, else slope · x."""

    word = "leaky_relu"
    slope: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False)


class Silu(Layer):
    """x · sigmoid(x)."""

    word = "silu"


class HardSwish(Layer):
    """x · clamp(x + 3, 0, 6) / 6."""

    word = "hardswish"


class Norm(Layer):
    """A normalization. Its trained parts, a scale and a shift per channel, can be left out."""

    @field_validator("noscale", check_fields=False)
    @classmethod
    def _noaffine_is_without_scale(cls, noscale: bool, info: ValidationInfo) -> bool:
        if noscale and info.data.get("noaffine"):
            raise ValueError("is part of noaffine; leave it out")
        return noscale


class BatchNorm(Norm):
    """Batch normalization over images and pixels, with PyTorch's running statistics.

    ``noaffine`` leaves out scale and shift; ``noscale`` the scale, which changes nothing where a
    ReLU and a convolution follow: the convolution's weights scale too.
    """

    word = "batchnorm"
    eps: float = _EPS
    momentum: float = Field(default=0.1, gt=0, le=1)
    noaffine: bool = False
    noscale: bool = False


class GroupNorm(Norm):
    """Normalization of each image over ``groups`` groups of channels, and pixels.

    In training and evaluation alike, without running statistics. ``noaffine`` and ``noscale`` as in
    :class:`BatchNorm`.
    """

    word = "groupnorm"
    main = "groups"
    groups: _Size
    eps: float = _EPS
    noaffine: bool = False
    noscale: bool = False


class LayerNorm(Norm):
    """Normalization of each image over all channels and pixels: ``groupnorm 1``.

    Scale and shift are per channel, as in ``torch.nn.GroupNorm(1, channels)``;
    ``torch.nn.LayerNorm`` has them per channel and pixel.
    """

    word = "layernorm"
    eps: float = _EPS
    noaffine: bool = False
    noscale: bool = False


class InstanceNorm(Norm):
    """Normalization of each image and channel over its pixels, as ``torch.nn.InstanceNorm2d``.

    Without running statistics, and without scale and shift unless ``affine``.
    """

    word = "instancenorm"
    eps: float = _EPS
    affine: bool = False


class SqueezeExcitation(Layer):
    """Each channel times a factor from 0 to 1, computed from the means of all channels.

    As ``torchvision.ops.SqueezeExcitation``: global average, 1 × 1 convolution to
    max(1, channels // reduction), ReLU, 1 × 1 convolution, sigmoid; both with bias. Source: Hu et
    al., "Squeeze-and-excitation networks", CVPR 2018.
    """

    word = "se"
    reduction: _Size = 4


class Dropout(Layer):
    """Elements set to zero with probability ``p`` in training, the rest scaled by 1 / (1 − p)."""

    word = "dropout"
    main = "p"
    p: float = Field(ge=0, lt=1)


class _Pool(Layer):
    main = "kernel"
    kernel: _Sizes
    stride: _Sizes | None = None
    pad: _Pads = (0, 0)

    @field_validator("stride")
    @classmethod
    def _kernel_is_the_default(cls, stride: Any, info: ValidationInfo) -> Any:
        """None where the stride is the kernel's size: a stated default equals an implied one."""
        return None if stride == info.data.get("kernel") else stride


class MaxPool(_Pool):
    """The largest value of each window; padding is never the largest."""

    word = "maxpool"


class AvgPool(_Pool):
    """The mean of each window, padding counted as zeros, as in PyTorch."""

    word = "avgpool"


class GlobalAvgPool(Layer):
    """The mean of each channel over all pixels."""

    word = "gap"


class Flatten(Layer):
    """(channels, height, width) → (channels · height · width)."""

    word = "flatten"


class Linear(Layer):
    """A fully connected layer of a flat input."""

    word = "linear"
    main = "out"
    out: _Size
    nobias: bool = False


_ALL: tuple[type[Layer], ...] = (
    Conv,
    Pointwise,
    Depthwise,
    Relu,
    LeakyRelu,
    Silu,
    HardSwish,
    BatchNorm,
    GroupNorm,
    LayerNorm,
    InstanceNorm,
    SqueezeExcitation,
    Dropout,
    MaxPool,
    AvgPool,
    GlobalAvgPool,
    Flatten,
    Linear,
)
LAYERS: dict[str, type[Layer]] = {layer.word: layer for layer in _ALL}
"""Word → layer, for all layers that are lines of text."""

ACTIVATIONS = (Relu, LeakyRelu, Silu, HardSwish)
