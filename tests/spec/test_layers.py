"""The layer notation: read, written back, refused with a word on what to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.spec import InvalidSpecError, Net, notation
from kilonet.spec import layers as spec
from kilonet.spec.layers import LAYERS
from kilonet.spec.notation import parse_layer

sizes = st.integers(1, 4096)
pairs = st.tuples(sizes, sizes) | sizes.map(lambda size: (size, size))
pads = st.tuples(st.integers(0, 99), st.integers(0, 99))
flags = st.booleans()
fractions = st.floats(0, 1, exclude_max=True)
positive = st.floats(0, 1e6, exclude_min=True)

LINES = st.one_of(
    st.builds(
        spec.Conv,
        out=sizes,
        kernel=pairs,
        stride=pairs,
        dilation=pairs,
        pad=pads,
        groups=sizes,
        bias=flags,
        bare=flags,
    ),
    st.builds(spec.Pointwise, out=sizes, stride=pairs, groups=sizes, bias=flags, bare=flags),
    st.builds(
        spec.Depthwise,
        kernel=pairs,
        stride=pairs,
        pad=pads,
        dilation=pairs,
        multiplier=sizes,
        bias=flags,
        bare=flags,
    ),
    st.builds(spec.Conv, out=sizes, kernel=pairs, pad=st.just("same"), dilation=pairs),
    st.builds(spec.Depthwise, kernel=pairs, pad=st.just("same"), dilation=pairs),
    st.builds(spec.MaxPool, kernel=pairs, stride=st.none() | pairs, pad=pads),
    st.builds(spec.AvgPool, kernel=pairs, stride=st.none() | pairs, pad=pads),
    st.builds(spec.Linear, out=sizes, nobias=flags),
    st.builds(spec.LeakyRelu, slope=st.floats(0, 1)),
    st.builds(
        spec.BatchNorm,
        eps=positive,
        momentum=st.floats(0, 1, exclude_min=True),
        noaffine=st.just(False),
        noscale=flags,
    ),
    st.builds(spec.BatchNorm, eps=positive, noaffine=st.just(True)),
    st.builds(spec.GroupNorm, groups=sizes, eps=positive, noaffine=flags),
    st.builds(spec.GroupNorm, groups=sizes, eps=positive, noscale=flags),
    st.builds(spec.LayerNorm, eps=positive, noaffine=flags),
    st.builds(spec.LayerNorm, eps=positive, noscale=flags),
    st.builds(spec.InstanceNorm, eps=positive, affine=flags),
    st.builds(spec.SqueezeExcitation, reduction=sizes),
    st.builds(spec.Dropout, p=fractions),
    st.sampled_from(
        [spec.Relu(), spec.Silu(), spec.HardSwish(), spec.GlobalAvgPool(), spec.Flatten()]
    ),
)
bodies = lambda inner: st.lists(inner, min_size=1, max_size=3)  # noqa: E731
TABLES = st.recursive(
    LINES,
    lambda inner: (
        st.builds(notation.Residual, layers=bodies(inner), shortcut=st.none() | bodies(inner))
        | st.builds(notation.Repeat, layers=bodies(inner), times=st.integers(1, 100))
    ),
    max_leaves=6,
)


@given(LINES)
def test_text_round_trip(layer):
    assert parse_layer(str(layer)) == layer
    assert str(parse_layer(str(layer))) == str(layer)


@given(TABLES)
def test_data_round_trip(layer):
    assert parse_layer(layer.to_line()) == layer
    assert layer.model_dump(mode="json") == layer.to_line()


def test_every_layer_has_a_round_trip():
    # The strategy above is complete.
    drawn = {spec.Conv, spec.Pointwise, spec.Depthwise, spec.MaxPool, spec.AvgPool, spec.Linear}
    drawn |= {spec.LeakyRelu, spec.BatchNorm, spec.Dropout, spec.Relu, spec.Silu, spec.HardSwish}
    drawn |= {spec.GroupNorm, spec.LayerNorm, spec.InstanceNorm, spec.SqueezeExcitation}
    drawn |= {spec.GlobalAvgPool, spec.Flatten}
    assert set(LAYERS.values()) == drawn


@pytest.mark.parametrize(
    ("line", "layer", "text"),
    [
        ("conv 8", spec.Conv(out=8), "conv 8"),
        ("  conv   8 ", spec.Conv(out=8), "conv 8"),
        ("conv out=8 kernel=3", spec.Conv(out=8), "conv 8"),
        ("conv bias 8", None, None),
        (
            "conv 8 pad=1 kernel=5x3 bias",
            spec.Conv(out=8, kernel=(5, 3), pad=1, bias=True),
            "conv 8 kernel=5x3 pad=1 bias",
        ),
        ("conv 8 pad=same", spec.Conv(out=8, pad="same"), "conv 8 pad=same"),
        (
            "depthwise dilation=2x1 pad=2",
            spec.Depthwise(dilation=(2, 1), pad=2),
            "depthwise pad=2 dilation=2x1",
        ),
        ("conv 8 dilation=1", spec.Conv(out=8), "conv 8"),
        ("conv 8 kernel=3x3", spec.Conv(out=8), "conv 8"),
        ("depthwise stride=2x1", spec.Depthwise(stride=(2, 1)), "depthwise stride=2x1"),
        ("maxpool 2", spec.MaxPool(kernel=2), "maxpool 2"),
        ("maxpool 2 stride=2", spec.MaxPool(kernel=2), "maxpool 2"),
        ("avgpool 3x2 stride=3x2", spec.AvgPool(kernel=(3, 2)), "avgpool 3x2"),
        ("avgpool 3 stride=1", spec.AvgPool(kernel=3, stride=1), "avgpool 3 stride=1"),
        ("dropout 1e-2", spec.Dropout(p=0.01), "dropout 0.01"),
        ("batchnorm eps=0.00001", spec.BatchNorm(), "batchnorm"),
        ("batchnorm noaffine", spec.BatchNorm(noaffine=True), "batchnorm noaffine"),
        (
            "batchnorm noscale eps=0.1",
            spec.BatchNorm(eps=0.1, noscale=True),
            "batchnorm eps=0.1 noscale",
        ),
        ("groupnorm 4 noaffine", spec.GroupNorm(groups=4, noaffine=True), "groupnorm 4 noaffine"),
        ("groupnorm groups=4 eps=1e-5", spec.GroupNorm(groups=4), "groupnorm 4"),
        ("layernorm noscale", spec.LayerNorm(noscale=True), "layernorm noscale"),
        ("instancenorm affine", spec.InstanceNorm(affine=True), "instancenorm affine"),
        ("se", spec.SqueezeExcitation(), "se"),
        ("se reduction=4", spec.SqueezeExcitation(), "se"),
        ("se reduction=8", spec.SqueezeExcitation(reduction=8), "se reduction=8"),
        ("linear 10 nobias", spec.Linear(out=10, nobias=True), "linear 10 nobias"),
        ("gap", spec.GlobalAvgPool(), "gap"),
    ],
)
def test_reading_and_writing(line, layer, text):
    if layer is None:
        with pytest.raises(InvalidSpecError):
            parse_layer(line)
        return
    assert parse_layer(line) == layer
    assert str(layer) == text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cnov 8", "'cnov 8': unknown layer 'cnov'; did you mean 'conv'?"),
        ("softmax", "'softmax': unknown layer 'softmax'; known: avgpool, batchnorm, conv,"),
        ("residual 8", "'residual 8': write it as a table: { residual = ['conv 8 pad=1'] }"),
        ("conv", "'conv': out is missing; write 'conv OUT'"),
        ("dropout", "'dropout': p is missing; write 'dropout P'"),
        ("maxpool", "'maxpool': kernel is missing; write 'maxpool KERNEL'"),
        ("conv x", "'conv x': out 'x' should be a whole number"),
        ("conv 8.5", "'conv 8.5': out '8.5' should be a whole number"),
        ("conv 0", "'conv 0': out '0' should be greater than or equal to 1"),
        ("conv 4097", "'conv 4097': out '4097' should be less than or equal to 4096"),
        ("conv 8 8", "'conv 8 8': conv has no '8'; known: bare, bias, dilation,"),
        ("conv 8 kernal=3", "'conv 8 kernal=3': conv has no 'kernal'; did you mean 'kernel'?"),
        ("conv 8 kernel", "'conv 8 kernel': write 'kernel=VALUE', not 'kernel'"),
        ("conv 8 bias=1", "'conv 8 bias=1': write 'bias', not 'bias=1'"),
        ("conv 8 bias bias", "'conv 8 bias bias': bias is given twice"),
        ("conv 8 out=9", "'conv 8 out=9': out is given twice"),
        ("conv 8 kernel=3x3x3", "kernel '3x3x3' should be a size such as 3 or 3x1"),
        ("conv 8 kernel=-1", "kernel '-1' should be a size such as 3 or 3x1"),
        ("conv 8 kernel=", "kernel '' should be a size such as 3 or 3x1"),
        (
            "conv 8 pad=sam",
            "'conv 8 pad=sam': pad 'sam' should be a size such as 3 or 3x1, or same",
        ),
        ("conv 8 pad=5000", "'conv 8 pad=5000': pad 5000 should be less than or equal to 4096"),
        (
            "conv 8 stride=2x1 pad=same",
            "pad same needs stride=1, not 2x1, as in PyTorch; give it as a number",
        ),
        ("depthwise stride=2 pad=same", "pad same needs stride=1, not 2, as in PyTorch"),
        ("maxpool 2 pad=same", "'maxpool 2 pad=same': pad 'same' should be a size such as 3 or"),
        ("pointwise 8 dilation=2", "pointwise has no 'dilation'; known: bare, bias, groups, out"),
        ("conv 8 dilation=0", "dilation 0 should be greater than or equal to 1"),
        (
            {"residual": ["relu"], "shortcut": ["relu", "cnov 8"]},
            "shortcut.1: 'cnov 8': unknown layer 'cnov'",
        ),
        ({"residual": ["relu"], "shortcut": []}, "shortcut: [] should have at least 1 value"),
        ({"shortcut": ["relu"]}, "{'shortcut': ['relu']} should be a line of text, { residual ="),
        ({"residual": ["relu"], "shorcut": ["relu"]}, "residual; did you mean 'shortcut'?"),
        ("relu 3", "'relu 3': relu has no '3'; it takes none"),
        ("pointwise 8 kernel=3", "pointwise has no 'kernel'; known: bare, bias, groups, out"),
        ("dropout 1", "'dropout 1': p '1' should be less than 1"),
        ("dropout -0.1", "p '-0.1' should be greater than or equal to 0"),
        ("dropout nan", "'dropout nan': p 'nan' should be"),
        ("batchnorm eps=inf", "eps 'inf' should be a finite number"),
        (
            "batchnorm affine",
            "'batchnorm affine': batchnorm has no 'affine'; did you mean 'noaffine'?",
        ),
        ("batchnorm noaffine noscale", "noscale is part of noaffine; leave it out"),
        ("groupnorm", "'groupnorm': groups is missing; write 'groupnorm GROUPS'"),
        ("groupnorm 0", "'groupnorm 0': groups '0' should be greater than or equal to 1"),
        ("layernorm 2", "'layernorm 2': layernorm has no '2'; known: eps, noaffine, noscale"),
        ("instancenorm noaffine", "instancenorm has no 'noaffine'; did you mean 'affine'?"),
        ("se reduction=0", "'se reduction=0': reduction '0' should be greater than or equal to 1"),
        ("leaky_relu slope=2", "slope '2' should be less than or equal to 1"),
        ("", "'' should be a layer such as 'conv 8'"),
        ("  ", "'  ' should be a layer such as 'conv 8'"),
        (3, "3 should be a layer such as 'conv 8'"),
        (None, "None should be a layer such as 'conv 8'"),
        (
            {"residul": []},
            "{'residul': []} should be a line of text, { residual = [lines] } or { repeat = [lines",
        ),
        ({"repeat": ["relu"]}, "times: is missing"),
        ({"repeat": ["relu"], "times": 0}, "times: 0 should be greater than or equal to 1"),
        ({"repeat": ["relu"], "times": 101}, "times: 101 should be less than or equal to 100"),
        ({"repeat": ["relu"], "times": True}, "times: 'true' should be a whole number"),
        ({"repeat": ["relu"], "tims": 2}, "tims: unknown key of repeat; did you mean 'times'?"),
        ({"residual": ["relu"], "times": 2}, "times: unknown key of residual; known: "),
        ({"repeat": [], "times": 2}, "repeat: [] should have at least 1 value"),
        ({"repeat": ["relu", "cnov 8"], "times": 2}, "repeat.1: 'cnov 8': unknown layer 'cnov'"),
        ("repeat 3", "'repeat 3': write it as a table: { repeat = ['conv 8 pad=1'], times = 3 }"),
        ({"residual": []}, "residual: [] should have at least 1 value"),
        ({"residual": "conv 8"}, "residual: 'conv 8' should be a list"),
        ({"residual": ["relu", "cnov 8"]}, "residual.1: 'cnov 8': unknown layer 'cnov'"),
        (
            {"residual": [{"residual": ["conv 0"]}]},
            "residual.0.residual.0: 'conv 0': out '0' should be greater",
        ),
    ],
)
def test_what_is_wrong_with_a_line(line, message):
    with pytest.raises(InvalidSpecError) as raised:
        parse_layer(line)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_network_says_which_line():
    with pytest.raises(InvalidSpecError) as raised:
        Net(input=(1, 8, 8), layers=["conv 8", {"residual": ["relu", "conv 0"]}])
    assert raised.value.path == ("layers", "1", "residual", "1")
    assert str(raised.value).startswith("layers.1.residual.1: 'conv 0': out")


def test_layers_are_frozen_and_hashable():
    layer = parse_layer("conv 8")
    with pytest.raises(ValueError, match="frozen"):
        layer.out = 9
    assert {layer, parse_layer("conv 8 stride=1")} == {layer}
