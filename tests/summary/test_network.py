"""The tables, the totals and the JSON of a summary."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings

from kilonet.spec import InvalidSpecError, Net, load_net, load_study
from kilonet.summary import summarize
from strategies import nets

# What torchsummary 1.5.1 prints for the notebook's class: as far as the notebook shows it, then as
# it goes on.
TORCHSUMMARY = """\
----------------------------------------------------------------
        Layer (type)               Output Shape         Param #
================================================================
            Conv2d-1            [-1, 8, 26, 26]              72
              ReLU-2            [-1, 8, 26, 26]               0
       BatchNorm2d-3            [-1, 8, 26, 26]              16
           Dropout-4            [-1, 8, 26, 26]               0
            Conv2d-5           [-1, 16, 24, 24]           1,152
              ReLU-6           [-1, 16, 24, 24]               0
       BatchNorm2d-7           [-1, 16, 24, 24]              32
           Dropout-8           [-1, 16, 24, 24]               0
         MaxPool2d-9           [-1, 16, 12, 12]               0
           Conv2d-10            [-1, 8, 12, 12]             128
             ReLU-11            [-1, 8, 12, 12]               0
           Conv2d-12           [-1, 12, 10, 10]             864
             ReLU-13           [-1, 12, 10, 10]               0
      BatchNorm2d-14           [-1, 12, 10, 10]              24
          Dropout-15           [-1, 12, 10, 10]               0
           Conv2d-16             [-1, 12, 8, 8]           1,296
             ReLU-17             [-1, 12, 8, 8]               0
      BatchNorm2d-18             [-1, 12, 8, 8]              24
          Dropout-19             [-1, 12, 8, 8]               0
           Conv2d-20             [-1, 16, 6, 6]           1,728
             ReLU-21             [-1, 16, 6, 6]               0
      BatchNorm2d-22             [-1, 16, 6, 6]              32
          Dropout-23             [-1, 16, 6, 6]               0
           Conv2d-24             [-1, 16, 6, 6]           2,304
             ReLU-25             [-1, 16, 6, 6]               0
      BatchNorm2d-26             [-1, 16, 6, 6]              32
          Dropout-27             [-1, 16, 6, 6]               0
        AvgPool2d-28             [-1, 16, 1, 1]               0
           Conv2d-29             [-1, 10, 1, 1]             160
================================================================
Total params: 7,864
Trainable params: 7,864
Non-trainable params: 0
----------------------------------------------------------------
Input size (MB): 0.00
Forward/backward pass size (MB): 0.58
Params size (MB): 0.03
Estimated Total Size (MB): 0.61
----------------------------------------------------------------"""

COLUMNS = (
    "Block",
    "Layer",
    "Input Size",
    "Kernel x Stride",
    "Padding",
    "Input Channel",
    "Output Channel",
    "Output Size",
    "Receptive Field",
)
# The notebook's rows, with its two slips put right: the kernel at GAP, and the field from there on.
NOTEBOOK_ROWS = """\
Input Block         | Conv1 | 28 | 3 x 1 | 0 | 1  | 8  | 26 | 3
Convolution Block 1 | Conv2 | 26 | 3 x 1 | 0 | 8  | 16 | 24 | 5
Transition Block 1  | Pool1 | 24 | 2 x 2 | 0 | 16 | 16 | 12 | 6
Transition Block 1  | Conv3 | 12 | 1 x 1 | 0 | 16 | 8  | 12 | 6
Convolution Block 2 | Conv4 | 12 | 3 x 1 | 0 | 8  | 12 | 10 | 10
Convolution Block 2 | Conv5 | 10 | 3 x 1 | 0 | 12 | 12 | 8  | 14
Convolution Block 2 | Conv6 | 8  | 3 x 1 | 0 | 12 | 16 | 6  | 18
Convolution Block 2 | Conv7 | 6  | 3 x 1 | 1 | 16 | 16 | 6  | 22
Output Block        | GAP   | 6  | 6 x 6 | 0 | 16 | 16 | 1  | * 32
Output Block        | Conv8 | 1  | 1 x 1 | 0 | 16 | 10 | 1  | * 32"""


@pytest.fixture
def interim():
    return summarize(load_net("interim"))


def test_totals_of_the_notebooks_network(interim):
    assert interim.parameters == 7864
    assert interim.macs == 1_045_312
    assert interim.receptive_field == 32
    assert interim.covers_input
    # The second convolution holds 8 · 26 · 26 and 16 · 24 · 24 values.
    assert interim.peak_activation_bytes == 4 * (5408 + 9216)


def test_layer_table_is_torchsummarys(interim):
    assert interim.layer_table == TORCHSUMMARY


def test_receptive_field_table_is_the_notebooks(interim):
    table = interim.receptive_field_table
    assert table.columns == COLUMNS
    rows = [tuple(cell.strip() for cell in row.split("|")) for row in NOTEBOOK_ROWS.splitlines()]
    assert list(table.rows) == rows
    assert table.title == "Receptive fields (* covers the whole 28 × 28 input)"


def test_the_lines_are_shown_with_the_paths_to_set(interim):
    table = interim.line_table
    rows = table.rows
    assert rows[0][:2] == ("net.block", "conv, relu, batchnorm, dropout 0.01")
    assert [path for path, *_ in rows[1:]] == [f"net.layers.{i}" for i in range(10)]
    assert [line for _, line, *_ in rows[1:]] == list(map(str, interim.net.layers))
    assert rows[2] == ("net.layers.1", "conv 16", "16 × 24 × 24", "1,184")
    assert sum(int(row[3].replace(",", "")) for row in rows[1:]) == 7864
    # The terminal of most people has 80 columns.
    assert max(map(len, table.to_text(width=80).splitlines())) <= 80


def test_a_residuals_lines_follow_it():
    inner = {"residual": ["batchnorm"]}
    layers = ["conv 4", {"residual": ["conv 4 pad=1", inner]}, *["relu"] * 9, "gap"]
    rows = summarize(Net(input=(1, 8, 8), layers=layers)).line_table.rows
    assert [row[:2] for row in rows[2:6]] == [
        ("net.layers.1", "residual"),
        ("net.layers.1.residual.0", "conv 4 pad=1"),
        ("net.layers.1.residual.1", "residual"),
        ("net.layers.1.residual.1.residual.0", "batchnorm"),
    ]
    assert [row[3] for row in rows[2:6]] == ["152", "144", "8", "8"]
    assert rows[-1][0] == "net.layers.11"  # by number, not by text


@settings(max_examples=40, deadline=None)
@given(nets(max_lines=5))
def test_every_path_that_is_shown_is_one_to_set(net):
    for path, line, *_ in summarize(net).line_table.rows[1:]:
        line = line.partition(" (")[0]
        if not line.startswith(("residual", "repeat")):
            field = path.removeprefix("net.")
            assert net.replace({field: line}) == net
            with pytest.raises(InvalidSpecError, match=r"unknown layer 'cnov'"):
                net.replace({field: "cnov 8"})


def test_channel_line_is_the_notebooks(interim):
    # The notebook brackets its first transition and not its last; here both are.
    assert interim.channel_line == (
        "1 → 8 → 16 → MaxPool → 16 → (Transition) → 8 → 12 → 12 → 16 → 16 "
        "→ GAP → 16 → (Transition) → 10"
    )


def test_print_shows_all(interim):
    text = str(interim)
    assert text.startswith(TORCHSUMMARY)
    assert "Multiply-adds of one image: 1,045,312" in text
    assert "Peak activation memory of one image (KiB): 57.1" in text
    assert str(interim.receptive_field_table) in text
    assert text.endswith(f"Channels: {interim.channel_line}")


def test_a_notebook_shows_tables(interim):
    html = interim._repr_html_()
    assert html.count("<table>") == 3
    assert '<td style="text-align:left">BatchNorm2d-26</td>' in html
    assert "1,045,312" in html
    assert html.count("<tr>") == 1 + 29 + 1 + 11 + 1 + 10


def test_json_has_the_stable_keys(interim):
    data = json.loads(json.dumps(interim.to_json()))
    assert (data["parameters"], data["macs"], data["receptive_field"]) == (7864, 1045312, 32)
    assert data["covers_input"] is True
    assert data["classes"] == 10
    assert data["input_shape"] == [1, 28, 28]
    assert len(data["layers"]) == 29
    assert data["layers"][4] == {
        "name": "Conv2d-5",
        "module": "convblock2.0",
        "path": "net.layers.1",
        "text": "conv 16",
        "input_shape": [8, 26, 26],
        "output_shape": [16, 24, 24],
        "parameters": 1152,
        "shared_with": None,
        "macs": 1152 * 24 * 24,
        "receptive_field": 5,
        "jump": 1,
        "activation_bytes": 4 * 16 * 24 * 24,
    }


def test_sizes_in_megabytes_are_torchsummarys(interim):
    # Of the rows of torchsummary's table.
    outputs = (
        4 * 8 * 26**2 + 4 * 16 * 24**2 + 16 * 12**2 + 2 * 8 * 12**2 + 4 * 12 * 10**2
        + 4 * 12 * 8**2 + 8 * 16 * 6**2 + 16 + 10
    )  # fmt: skip
    assert interim.input_megabytes == 28 * 28 * 4 / 1024**2
    assert interim.pass_megabytes == 2 * outputs * 4 / 1024**2
    assert interim.parameters_megabytes == 7864 * 4 / 1024**2
    assert interim.total_megabytes == pytest.approx((784 + 2 * outputs + 7864) * 4 / 1024**2)


def test_every_stage_of_the_bundled_study():
    # Batch norm adds 2 · (8 + 16 + 12 + 12 + 16 + 16); nothing else adds any.
    study = load_study("mnist-8k")
    assert summarize(study.net).parameters == 7864 - 160
    assert [summarize(stage.run.net).parameters for stage in study.stages] == [7864] * 7


def blocks_of(layers, **options):
    net = Net(input=(1, 32, 32), block=["conv", "relu"], layers=layers, **options)
    return [(row[0], row[1]) for row in summarize(net).receptive_field_table.rows]


def test_blocks_of_other_networks():
    assert blocks_of(["conv 4", "maxpool 2", "conv 4", "avgpool 2", "flatten", "linear 10"]) == [
        ("Input Block", "Conv1"),
        ("Transition Block 1", "Pool1"),
        ("Convolution Block 1", "Conv2"),
        ("Transition Block 2", "Pool2"),
        ("Output Block", "Linear1"),
    ]
    # A 1 × 1 convolution before the pool belongs to the transition, one without a pool does not.
    assert blocks_of(
        ["conv 4", "pointwise 2", "conv 4", "pointwise 2", "maxpool 2", "gap", "pointwise 3 bare"]
    ) == [
        ("Input Block", "Conv1"),
        ("Convolution Block 1", "Conv2"),
        ("Convolution Block 1", "Conv3"),
        ("Transition Block 1", "Conv4"),
        ("Transition Block 1", "Pool1"),
        ("Output Block", "GAP"),
        ("Output Block", "Conv5"),
    ]
    # Depthwise and pointwise are one convolution in two halves.
    assert blocks_of(["conv 4", "depthwise", "pointwise 8", "maxpool 2", "conv 3 kernel=14"]) == [
        ("Input Block", "Conv1"),
        ("Convolution Block 1", "Conv2"),
        ("Convolution Block 1", "Conv3"),
        ("Transition Block 1", "Pool1"),
        ("Output Block", "Conv4"),
    ]
    assert blocks_of(["maxpool 2", "flatten", "linear 10"]) == [
        ("Transition Block 1", "Pool1"),
        ("Output Block", "Linear1"),
    ]
    residual = {"residual": ["conv 4 pad=1", "pointwise 4"]}
    assert blocks_of(["conv 4", residual, "maxpool 2", "gap"]) == [
        ("Input Block", "Conv1"),
        ("Convolution Block 1", "Conv2 (residual)"),
        ("Convolution Block 1", "Conv3 (residual)"),
        ("Transition Block 1", "Pool1"),
        ("Output Block", "GAP"),
    ]


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        (["conv 4", "flatten", "linear 9", "linear 3"],
         "1 → 4 → Flatten → 144 → Linear → 9 → Linear → 3"),
        (["conv 4", {"residual": ["conv 6 pad=1", "pointwise 4"]}, "avgpool 2", "gap"],
         "1 → 4 → Residual[6 → 4] → AvgPool → 4 → GAP → 4"),
        (["conv 4", "depthwise", "pointwise 8", "gap"], "1 → 4 → Depthwise → 4 → 8 → GAP → 8"),
        ([{"residual": ["relu"]}, "gap"], "1 → GAP → 1"),
        ([{"residual": ["conv 2 pad=1", {"residual": ["conv 2 pad=1"]}, "conv 1 pad=1"]}, "gap"],
         "1 → Residual[2 → Residual[2] → 1] → GAP → 1"),
    ],
)  # fmt: skip
def test_channel_lines(layers, line):
    net = Net(input=(1, 8, 8), block=["conv", "relu"], layers=layers)
    assert summarize(net).channel_line == line


def test_sizes_that_are_not_square_show_both_axes():
    net = Net(
        input=(3, 20, 18),
        layers=["conv 4 kernel=3x1 stride=2 pad=1x0", "flatten", "linear 10"],
    )
    conv, linear = summarize(net).receptive_field_table.rows
    assert conv[2:8] == ("20x18", "3x1 x 2", "1x0", "3", "4", "10x9")
    assert linear[2:8] == ("1", "–", "–", "360", "10", "1")


def test_no_mark_where_nothing_covers():
    net = Net(input=(1, 8, 8), layers=["conv 4 stride=8", "pointwise 10 bare"])
    summary = summarize(net)
    assert not summary.covers_input
    assert summary.receptive_field_table.title == (
        "Receptive fields (none covers the whole 8 × 8 input)"
    )
    assert [row[-1] for row in summary.receptive_field_table.rows] == ["3", "3"]


@settings(max_examples=40, deadline=None)
@given(nets())
def test_every_network_has_its_tables(net):
    summary = summarize(net)
    assert json.loads(json.dumps(summary.to_json())) == summary.to_json()
    assert all(len(row) == len(COLUMNS) for row in summary.receptive_field_table.rows)
    assert summary.channel_line.startswith(f"{net.input[0]}")
    assert str(summary)
    assert summary._repr_html_()


def test_a_network_without_windows():
    summary = summarize(Net(input=(3, 1, 1), layers=["relu"]))
    assert (summary.parameters, summary.macs, summary.receptive_field) == (0, 0, 1)
    assert summary.receptive_field_table.rows == ()
    assert str(summary)


def test_a_summary_is_frozen(interim):
    with pytest.raises(dataclasses.FrozenInstanceError):
        interim.layers = ()


def test_a_repeats_applications_have_rows_and_share_parameters():
    summary = summarize(
        Net(
            input=(1, 8, 8),
            block=["conv", "relu", "batchnorm"],
            layers=[
                "conv 4 pad=1",
                {"repeat": ["conv 4 pad=1", "maxpool 2"], "times": 2},
                "gap",
                "pointwise 2 bare",
            ],
        )
    )
    assert [(row[0], *row[1:]) for row in summary.line_table.rows[1:-2]] == [
        ("net.layers.0", "conv 4 pad=1", "4 × 8 × 8", "44"),
        ("net.layers.1", "repeat × 2", "4 × 2 × 2", "160"),
        ("net.layers.1.repeat.0", "conv 4 pad=1 (application 1)", "4 × 8 × 8", "152"),
        ("net.layers.1.repeat.1", "maxpool 2 (application 1)", "4 × 4 × 4", "0"),
        ("net.layers.1.repeat.0", "conv 4 pad=1 (application 2)", "4 × 4 × 4", "8 + shared"),
        ("net.layers.1.repeat.1", "maxpool 2 (application 2)", "4 × 2 × 2", "0"),
    ]
    assert summary.parameters == summary.net.num_parameters == 44 + 160 + 8
    first, second = [row for row in summary.to_json()["layers"] if row["text"] == "conv 4 pad=1"][
        3::3
    ]
    assert (first["parameters"], first["shared_with"]) == (144, None)
    assert (second["parameters"], second["shared_with"]) == (0, "repeat1.0.convblock1.0")
    # Each application at its own size: 144 multiply-adds a pixel.
    assert (first["macs"], second["macs"]) == (144 * 64, 144 * 16)
    assert (first["receptive_field"], second["receptive_field"]) == (5, 10)
    shared = [line for line in summary.layer_table.splitlines() if line.endswith(" shared")]
    assert len(shared) == 1
    assert [row[2] for row in summary.layers_table.rows].count("shared") == 1


def test_a_dilated_and_a_projected_network():
    summary = summarize(
        Net(
            input=(1, 16, 16),
            layers=[
                "conv 4 kernel=4x3 pad=same dilation=1x2",
                {
                    "residual": ["conv 6 stride=2 pad=1", "conv 6 pad=1"],
                    "shortcut": ["pointwise 6 stride=2 bare", "silu"],
                },
                "gap",
            ],
        )
    )
    [conv, *_] = summary.receptive_field_table.rows
    assert conv[3:5] == ("4x3 x 1 (dilation 1x2)", "1x2 (end +1x0)")
    assert [row[1] for row in summary.receptive_field_table.rows] == [
        "Conv1",
        "Conv2 (residual)",
        "Conv3 (residual)",
        "Conv4 (residual)",
        "GAP",
    ]
    # 4 rows; 1 + 2 · 2 columns. Then + 2 and + 2 · 2, as the shortcut sees less than the body.
    assert summary.layers[0].fields == (4, 5)
    assert next(layer.fields for layer in summary.layers if layer.name[:3] == "Res") == (10, 11)
    assert summary.layers[0].macs == 4 * 12 * 16 * 16
    assert summary.channel_line == "1 → 4 → Residual[6 → 6 + 6] → GAP → 6"
    assert [row[:2] for row in summary.line_table.rows[2:-1]] == [
        ("net.layers.1", "residual"),
        ("net.layers.1.residual.0", "conv 6 stride=2 pad=1"),
        ("net.layers.1.residual.1", "conv 6 pad=1"),
        ("net.layers.1.shortcut.0", "pointwise 6 stride=2 bare"),
        ("net.layers.1.shortcut.1", "silu"),
    ]
    # In the shortcut's 1 × 1 convolution: its input of 4 × 16 × 16, the body's output and its own.
    # But most is before that: input and output of the first convolution are 5 × 16 × 16.
    assert summary.peak_activation_bytes == 4 * max(4 * 256 + 2 * 6 * 64, 5 * 256)
