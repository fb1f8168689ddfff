"""A network's summary: tables and totals, as text, HTML and plain data."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from kilonet.spec import Net
from kilonet.spec.graph import Conv2d, Node, Pool2d, show
from kilonet.summary.blocks import block_names, channel_words, inside_residual, window_kind, windows
from kilonet.summary.layers import BYTES_PER_VALUE, LayerSummary, peak_values, summarize_layers
from kilonet.table import Table

_MEGABYTE = 1024**2
_RULE, _DOUBLE_RULE = "-" * 64, "=" * 64


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A network's tables and totals, as text or, in a notebook, as HTML.

    Attributes:
        net: the network.
        layers: its operations in the order in which they run; a residual comes after its body.
    """

    net: Net
    layers: tuple[LayerSummary, ...]

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def receptive_field(self) -> int:
        """Receptive field of the output in input pixels, the larger axis."""
        return self.layers[-1].receptive_field

    @property
    def covers_input(self) -> bool:
        """Whether the output's receptive field is at least the input's size on both axes."""
        return self._covers(self.layers[-1])

    @property
    def input_megabytes(self) -> float:
        """Size of one image in MB of 1024² bytes, as in torchsummary; likewise the next three."""
        return prod(self.net.input) * BYTES_PER_VALUE / _MEGABYTE

    @property
    def pass_megabytes(self) -> float:
        """Size of all outputs, twice: for the forward and the backward pass."""
        return 2 * sum(layer.activation_bytes for layer in self.layers) / _MEGABYTE

    @property
    def parameters_megabytes(self) -> float:
        """Size of the parameters."""
        return self.parameters * BYTES_PER_VALUE / _MEGABYTE

    @property
    def total_megabytes(self) -> float:
        """Sum of input, passes and parameters."""
        return self.input_megabytes + self.pass_megabytes + self.parameters_megabytes

    @cached_property
    def peak_activation_bytes(self) -> int:
        """Most bytes of activations in memory at once, in the inference of one image.

        Layers run one after another. A convolution, pool or linear layer has an output buffer
        apart from its input; other layers and a residual's sum work in place. A residual's input
        is kept until its sum.
        """
        return peak_values(self.net.nodes) * BYTES_PER_VALUE

    @property
    def layer_table(self) -> str:
        """Layers, output shapes and parameters, in torchsummary's layout."""

        def line(layer: str, shape: str, parameters: str) -> str:
            return f"{layer:>20}  {shape:>25} {parameters:>15}"

        rows = [
            line(layer.name, str([-1, *layer.output_shape]), layer.parameters_text)
            for layer in self.layers
        ]
        return "\n".join(
            [
                _RULE,
                line("Layer (type)", "Output Shape", "Param #"),
                _DOUBLE_RULE,
                *rows,
                _DOUBLE_RULE,
                f"Total params: {self.parameters:,}",
                f"Trainable params: {self.parameters:,}",
                "Non-trainable params: 0",
                _RULE,
                f"Input size (MB): {self.input_megabytes:.2f}",
                f"Forward/backward pass size (MB): {self.pass_megabytes:.2f}",
                f"Params size (MB): {self.parameters_megabytes:.2f}",
                f"Estimated Total Size (MB): {self.total_megabytes:.2f}",
                _RULE,
            ]
        )

    @property
    def line_table(self) -> Table:
        """The network's lines with the paths to change them, as ``--set`` and stages take them.

        A residual's lines follow it, and its parameters are theirs. So do a repeat's, once for each
        application; the first has the parameters that all share.
        """
        rows = [row for _, row in sorted(self._line_rows().items())]
        block = ", ".join(self.net.to_dict()["block"])
        return Table(
            columns=("Path", "Line", "Output Shape", "Parameters"),
            rows=(("net.block", block, "", ""), *rows),
            left=frozenset({0, 1}),
            title="Lines of the network; --set PATH=VALUE changes one",
        )

    @property
    def receptive_field_table(self) -> Table:
        """The notebook's table: a row for every operation with a window, with its receptive field.

        The first convolution is the Input Block; pools, and 1 × 1 convolutions next to them, are
        Transition Blocks; the Output Block begins at global average pooling or ``flatten`` (else at
        the last row); the others are Convolution Blocks. A 1 × 1 convolution right after a
        depthwise one belongs to it and is no transition. ``*`` marks a field that covers the whole
        input.
        """
        seen = windows(self.net.nodes)
        rows = {layer.module: layer for layer in self.layers}
        numbers: Counter[str] = Counter()
        body = []
        for node, block in zip(seen, block_names(self.net.nodes), strict=True):
            kind = window_kind(node)
            numbers[kind] += 1
            label = kind if kind == "GAP" else f"{kind}{numbers[kind]}"
            body.append(self._receptive_field_row(node, rows[node.name], block=block, label=label))
        marked = any(self._covers(rows[node.name]) for node in seen)
        mark = "* covers" if marked else "none covers"
        return Table(
            columns=(
                "Block",
                "Layer",
                "Input Size",
                "Kernel x Stride",
                "Padding",
                "Input Channel",
                "Output Channel",
                "Output Size",
                "Receptive Field",
            ),
            rows=tuple(body),
            left=frozenset({0, 1}),
            title=f"Receptive fields ({mark} the whole {show(self.net.input[1:])} input)",
        )

    @property
    def channel_line(self) -> str:
        """The channel counts in order: ``1 → 8 → 16 → MaxPool → 16 → (Transition) → 8 → …``.

        A 1 × 1 convolution is a ``(Transition)``; a residual's body is in brackets.
        """
        return " → ".join([str(self.net.input[0]), *channel_words(self.net.nodes)])

    def to_json(self) -> dict[str, Any]:
        """Plain data with the stable keys of ``kilonet summary --json``."""
        return {
            "parameters": self.parameters,
            "macs": self.macs,
            "receptive_field": self.receptive_field,
            "covers_input": self.covers_input,
            "input_shape": list(self.net.input),
            "classes": self.net.num_classes,
            "peak_activation_bytes": self.peak_activation_bytes,
            "input_megabytes": self.input_megabytes,
            "pass_megabytes": self.pass_megabytes,
            "parameters_megabytes": self.parameters_megabytes,
            "total_megabytes": self.total_megabytes,
            "channels": self.channel_line,
            "layers": [layer.to_json() for layer in self.layers],
        }

    def __str__(self) -> str:
        return self._text(str(self.line_table), str(self.receptive_field_table))

    def to_text(self, *, width: int) -> str:
        """As ``str``, for a terminal of ``width`` columns."""
        return self._text(
            self.line_table.to_text(width=width), self.receptive_field_table.to_text(width=width)
        )

    def _text(self, lines: str, fields: str) -> str:
        channels = f"Channels: {self.channel_line}"
        return "\n".join([self.layer_table, *self._facts, "", lines, "", fields, "", channels])

    @property
    def layers_table(self) -> Table:
        """All operations with output shape, parameters, multiply-adds and receptive field."""
        return Table(
            columns=("Layer", "Output Shape", "Parameters", "Multiply-adds", "Receptive Field"),
            rows=tuple(
                (
                    layer.name,
                    show(layer.output_shape),
                    layer.parameters_text,
                    f"{layer.macs:,}",
                    self._marked(layer),
                )
                for layer in self.layers
            ),
            left=frozenset({0}),
            title=f"{self.parameters:,} parameters",
        )

    def _repr_html_(self) -> str:
        facts = "<br>".join(map(html.escape, self._facts))
        channels = html.escape(f"Channels: {self.channel_line}")
        tables = f"{self.line_table.to_html()}{self.receptive_field_table.to_html()}"
        return f"{self.layers_table.to_html()}<p>{facts}</p>{tables}<p>{channels}</p>"

    @property
    def _facts(self) -> list[str]:
        """Figures that torchsummary does not have."""
        kibibytes = self.peak_activation_bytes / 1024
        return [
            f"Multiply-adds of one image: {self.macs:,}",
            f"Peak activation memory of one image (KiB): {kibibytes:.1f}",
        ]

    def _line_rows(self) -> dict[tuple[int, ...], tuple[str, str, str, str]]:
        """Position of a line → its row; a line in a repeat has one for each application."""
        rows: dict[tuple[int, ...], tuple[str, str, str, str]] = {}
        parameters: Counter[tuple[int, ...]] = Counter()
        shared: set[tuple[int, ...]] = set()
        # A line's last operation has the line's output shape.
        for layer in self.layers:
            for path, text, place, applications in _lines_around(layer):
                parameters[place] += layer.parameters
                # What it shares is in first applications.
                if layer.shared_with and max(applications, default=1) > 1:
                    shared.add(place)
                rows[place] = (path, text, show(layer.output_shape), "")
        return {
            place: (*row[:3], _own_and_shared(parameters[place], shared=place in shared))
            for place, row in rows.items()
        }

    def _covers(self, layer: LayerSummary) -> bool:
        sizes = self.net.input[1:]
        return all(field >= size for field, size in zip(layer.fields, sizes, strict=True))

    def _marked(self, layer: LayerSummary) -> str:
        """The receptive field as a cell; the mark is in front, so that the numbers line up."""
        return f"{'* ' if self._covers(layer) else ''}{layer.receptive_field}"

    def _receptive_field_row(
        self, node: Node, layer: LayerSummary, *, block: str, label: str
    ) -> tuple[str, ...]:
        op = node.op
        window = padding = "–"  # a linear layer's window is its whole input
        if isinstance(op, Conv2d | Pool2d):
            window = f"{_size(op.kernel)} x {_size(op.stride)}"
            padding = _size(op.padding)
            if isinstance(op, Conv2d) and op.dilation != (1, 1):
                window += f" (dilation {_size(op.dilation)})"
            if isinstance(op, Conv2d) and any(op.extra_padding):
                padding += f" (end +{_size(op.extra_padding)})"
        return (
            block,
            f"{label} (residual)" if inside_residual(node) else label,
            _size(node.input_shape[1:]),
            window,
            padding,
            str(node.input_shape[0]),
            str(node.output_shape[0]),
            _size(node.output_shape[1:]),
            self._marked(layer),
        )


def summarize(net: Net) -> Summary:
    """Compute a network's tables and totals, without allocating its weights."""
    return Summary(net=net, layers=summarize_layers(net))


def _lines_around(
    layer: LayerSummary,
) -> list[tuple[str, str, tuple[int, ...], tuple[int, ...]]]:
    """An operation's line, and the lines that this one is in: path, text, position, applications.

    A position sorts lines in their order: of net.layers.3.repeat.1 in application 2 it is 3, 2, 1.
    """
    words = layer.path.split(".")
    lines = []
    place: tuple[int, ...] = ()
    depth = 0  # repeats around the line
    for end in range(3, len(words) + 1, 2):
        table, position = words[end - 2], words[end - 1]
        label = ""
        if table == "repeat":
            number = layer.applications[depth]
            depth += 1
            place += (number,)
            label = f" (application {number})"
        elif table != "layers":
            place += (("residual", "shortcut").index(table),)
        place += (int(position),)
        if end == len(words):
            text = "residual" if layer.name.startswith("Residual") else layer.text
        elif words[end] == "repeat":
            # Later operations overwrite it: the last one is in the last application.
            text = f"repeat × {layer.applications[depth]}"
        else:
            text = "residual"
        lines.append((".".join(words[:end]), f"{text}{label}", place, layer.applications[:depth]))
    return lines


def _own_and_shared(parameters: int, *, shared: bool) -> str:
    if not shared:
        return f"{parameters:,}"
    return f"{parameters:,} + shared" if parameters else "shared"


def _size(sizes: Sequence[int]) -> str:
    """A size in the layer notation: ``3``, or ``3x1``; 1 for a flat shape."""
    return "x".join(map(str, sizes if len(set(sizes)) > 1 else sizes[:1])) or "1"
