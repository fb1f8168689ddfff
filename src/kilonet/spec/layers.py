"""The layer notation: one line of text a layer, parsed to a spec and formatted back.

A line is a word, its main value, then ``key=value`` and flags: ``conv 16 kernel=5 pad=2 bias``.
Sizes are one number or ``height x width`` without spaces: ``kernel=3x1``.

=============  ==========  =======================================================================
word           main value  keys (defaults) and flags
=============  ==========  =======================================================================
conv           out         kernel (3), stride (1), pad (0), groups (1), bias, bare; expands to the
                           network's block unless bare
pointwise      out         stride (1), groups (1), bias, bare; a 1 × 1 convolution and the block's
                           activation alone: the notebook's transition layer
depthwise      –           kernel (3), stride (1), pad (0), multiplier (1), bias, bare; each channel
                           by itself; expands to the network's block unless bare
relu           –
leaky_relu     –           slope (0.01)
silu           –
hardswish      –
batchnorm      –           eps (1e-05), momentum (0.1)
dropout        p
maxpool        kernel      stride (= kernel), pad (0)
avgpool        kernel      stride (= kernel), pad (0)
gap            –           global average pooling
flatten        –
linear         out         nobias
=============  ==========  =======================================================================

A residual is a table: ``{ residual = ["conv 16 pad=1", "conv 16 pad=1"] }``, its layers plus the
identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_serializer

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
        """What :func:`parse_layer` takes: its text, or a residual's table."""
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
    pad: _Pads = (0, 0)
    groups: _Size = 1
    bias: bool = False
    bare: bool = False


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
    pad: _Pads = (0, 0)
    multiplier: _Size = 1
    bias: bool = False
    bare: bool = False


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


class BatchNorm(Layer):
    """Batch normalization over images and pixels, with PyTorch's running statistics."""

    word = "batchnorm"
    eps: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.1, gt=0, le=1)


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
    """``layers`` plus the identity: output = input + layers(input)."""

    word = "residual"
    layers: tuple[AnyLayer, ...] = Field(min_length=1)

    def __str__(self) -> str:
        return "residual [" + ", ".join(map(str, self.layers)) + "]"

    def to_line(self) -> Any:
        """The residual's table."""
        return {"residual": [layer.to_line() for layer in self.layers]}


_ALL: tuple[type[Layer], ...] = (
    Conv,
    Pointwise,
    Depthwise,
    Relu,
    LeakyRelu,
    Silu,
    HardSwish,
    BatchNorm,
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


def parse_layer(line: Any) -> Layer:
    """Parse one layer: its text, a residual's table, or a :class:`Layer`, which is returned.

    Raises:
        InvalidSpecError: naming the wrong word, key or value, and the nearest valid one.
    """
    if isinstance(line, Layer):
        return line
    if isinstance(line, Mapping):
        if set(line) != {"residual"}:
            problem = f"{dict(line)!r} should be a line of text or {{ residual = [lines] }}"
            raise InvalidSpecError(problem)
        try:
            return Residual(layers=line["residual"])
        except InvalidSpecError as error:
            # The user writes `residual` for the field `layers`.
            raise InvalidSpecError(error.problem, path=("residual", *error.path[1:])) from None
    if not isinstance(line, str) or not line.split():
        raise InvalidSpecError(f"{line!r} should be a layer such as 'conv 8'")
    return _parse_line(line)


def _parse_line(line: str) -> Layer:
    word, *rest = line.split()
    if word == Residual.word:
        raise InvalidSpecError(f"{line!r}: write it as a table: {{ residual = ['conv 8 pad=1'] }}")
    if word not in LAYERS:
        known = [*LAYERS, Residual.word]
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
