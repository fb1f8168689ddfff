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
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from kilonet.errors import did_you_mean
from kilonet.spec.base import InvalidSpecError
from kilonet.spec.layers import LAYERS, Layer


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
"""A field of type :class:`Layer` that also takes the layer's text or table."""


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


TABLES: dict[str, tuple[type[Layer], str]] = {
    "residual": (Residual, "{ residual = ['conv 8 pad=1'] }"),
    "repeat": (Repeat, "{ repeat = ['conv 8 pad=1'], times = 3 }"),
}
"""Word → layer and an example, for the layers that are tables."""
