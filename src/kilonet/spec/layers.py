"""The layer notation: one line of text a layer, parsed to a spec and formatted back.

A line is a word, its main value, then ``key=value`` and flags: ``conv 16 kernel=5 pad=2 bias``.
Sizes are one number or ``height x width`` without spaces: ``kernel=3x1``.

=============  ==========  =======================================================================
word           main value  keys (defaults) and flags
=============  ==========  =======================================================================
conv           out         kernel (3), stride (1), pad (0), dilation (1), groups (1), bias, bare;
                           expands to the network's block unless bare
pointwise      out         stride (1), groups (1), bias, bare; a 1 × 1 convolution and the block's
                           activation alone: the notebook's transition layer
depthwise      –           kernel (3), stride (1), pad (0), dilation (1), multiplier (1), bias,
                           bare; each channel by itself; expands to the network's block unless
                           bare
relu           –
leaky_relu     –           slope (0.01)
silu           –
hardswish      –
batchnorm      –           eps (1e-05), momentum (0.1), noaffine, noscale
groupnorm      groups      eps (1e-05), noaffine, noscale; each image by itself, like the next two
layernorm      –           eps (1e-05), noaffine, noscale; over all channels and pixels of an image
instancenorm   –           eps (1e-05), affine; over the pixels of each channel
se             –           reduction (4); squeeze-excitation: each channel times a factor of 0 to 1
                           that two layers compute from the means of all channels
dropout        p
maxpool        kernel      stride (= kernel), pad (0)
avgpool        kernel      stride (= kernel), pad (0)
gap            –           global average pooling
flatten        –
linear         out         nobias
=============  ==========  =======================================================================

``pad=same`` is PyTorch's ``padding="same"``: as much padding as keeps the size, where it is odd one
more at the end; the stride must be 1.

Two layers are tables:

- ``{ residual = ["conv 16 pad=1", "conv 16 pad=1"] }``: its layers plus the identity. With
  ``shortcut = ["pointwise 16 stride=2 bare", "batchnorm"]`` these layers take the identity's place.
- ``{ repeat = ["conv 16 pad=1", "maxpool 2"], times = 3 }``: its layers, ``times`` times one after
  the other, with one set of weights and biases of convolutions and linear layers. Normalizations
  have their own in each application.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from kilonet.errors import did_you_mean
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
    """One line of a network: ``str`` formats it, :func:`parse_layer` parses it."""

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
        """What :func:`parse_layer` takes: its text, or its table."""
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

    ``noaffine`` leaves out scale and shift; ``noscale`` the scale, which a ReLU between this layer
    and a convolution hands on to the convolution's weights.
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


class Residual(Layer):
    """``layers`` plus the identity, or plus ``shortcut``: output = shortcut(input) + layers(input).

    Source of the shortcut: the projections of He et al., "Deep residual learning for image
    recognition", CVPR 2016.
    """

    word = "residual"
    layers: tuple[AnyLayer, ...] = Field(min_length=1)
    shortcut: tuple[AnyLayer, ...] | None = Field(default=None, min_length=1)

    def __str__(self) -> str:
        text = _lines_text("residual", self.layers)
        return text if self.shortcut is None else f"{text} {_lines_text('shortcut', self.shortcut)}"

    def to_line(self) -> Any:
        """The residual's table."""
        table = {"residual": [layer.to_line() for layer in self.layers]}
        if self.shortcut is not None:
            table["shortcut"] = [layer.to_line() for layer in self.shortcut]
        return table


class Repeat(Layer):
    """``layers``, ``times`` times one after the other, with shared convolutions and linear layers.

    Normalizations are not shared. Source: the "time-specific batch normalization" of Liao and
    Poggio, "Bridging the gaps between residual learning, recurrent neural networks and visual
    cortex", 2016, whose residual network shares weights over its iterations.
    """

    word = "repeat"
    layers: tuple[AnyLayer, ...] = Field(min_length=1)
    times: int = Field(ge=1, le=100)

    def __str__(self) -> str:
        return f"{_lines_text('repeat', self.layers)} times={self.times}"

    def to_line(self) -> Any:
        """The repeat's table."""
        return {"repeat": [layer.to_line() for layer in self.layers], "times": self.times}


def _lines_text(word: str, lines: tuple[Layer, ...]) -> str:
    return f"{word} [{', '.join(map(str, lines))}]"


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

TABLES: dict[str, tuple[type[Layer], str]] = {
    "residual": (Residual, "{ residual = ['conv 8 pad=1'] }"),
    "repeat": (Repeat, "{ repeat = ['conv 8 pad=1'], times = 3 }"),
}
"""Word → layer and an example, for the layers that are tables."""

ACTIVATIONS = (Relu, LeakyRelu, Silu, HardSwish)


def parse_layer(line: Any) -> Layer:
    """Parse one layer: its text, its table, or a :class:`Layer`, which is returned.

    Raises:
        InvalidSpecError: naming the wrong word, key or value, and the nearest valid one.
    """
    if isinstance(line, Layer):
        return line
    if isinstance(line, Mapping):
        return _parse_table(line)
    if not isinstance(line, str) or not line.split():
        raise InvalidSpecError(f"{line!r} should be a layer such as 'conv 8'")
    return _parse_line(line)


def _parse_table(table: Mapping[str, Any]) -> Layer:
    word = next((key for key in table if key in TABLES), None)
    if word is None:
        forms = " or ".join(
            f"{{ {word} = [lines]{', …' * (word != 'residual')} }}" for word in TABLES
        )
        raise InvalidSpecError(f"{dict(table)!r} should be a line of text, {forms}")
    kind, _ = TABLES[word]
    # The user writes the word for the field `layers`.
    keys = [word, *(key for key in kind.model_fields if key != "layers")]
    for key in table:
        if key not in keys:
            raise InvalidSpecError(f"unknown key of {word}; {did_you_mean(key, keys)}", path=(key,))
    arguments = {("layers" if key == word else key): value for key, value in table.items()}
    try:
        return kind(**arguments)
    except InvalidSpecError as error:
        first, *rest = error.path
        path = (word if first == "layers" else first, *rest)
        raise InvalidSpecError(error.problem, path=path) from None


def _parse_line(line: str) -> Layer:
    word, *rest = line.split()
    if word in TABLES:
        raise InvalidSpecError(f"{line!r}: write it as a table: {TABLES[word][1]}")
    if word not in LAYERS:
        known = [*LAYERS, *TABLES]
        raise InvalidSpecError(f"{line!r}: unknown layer {word!r}; {did_you_mean(word, known)}")
    layer = LAYERS[word]
    arguments: dict[str, Any] = {}
    for i, part in enumerate(rest):
        key, equals, value = part.partition("=")
        if equals:
            argument: Any = value
        elif i == 0 and layer.main is not None and key not in layer.model_fields:
            key, argument = layer.main, key
        else:
            argument = True
        field = layer.model_fields.get(key)
        if field is None:
            hint = did_you_mean(key, layer.model_fields) if layer.model_fields else "it takes none"
            raise InvalidSpecError(f"{line!r}: {word} has no {key!r}; {hint}")
        if key in arguments:
            raise InvalidSpecError(f"{line!r}: {key} is given twice")
        if (field.annotation is bool) != (argument is True):
            form = key if field.annotation is bool else f"{key}=VALUE"
            raise InvalidSpecError(f"{line!r}: write {form!r}, not {part!r}")
        arguments[key] = argument
    if layer.main is not None and layer.main not in arguments:
        hint = f"{word} {layer.main.upper()}"
        raise InvalidSpecError(f"{line!r}: {layer.main} is missing; write {hint!r}")
    try:
        return layer(**arguments)
    except InvalidSpecError as error:
        where = error.path[0] if error.path else word
        raise InvalidSpecError(f"{line!r}: {where} {error.problem}") from None


AnyLayer = Annotated[Layer, BeforeValidator(parse_layer)]
"""A field of type :class:`Layer` that also takes the layer's text."""

Residual.model_rebuild()
Repeat.model_rebuild()
