"""Shapes, parameters, multiply-adds, receptive fields and memory, against PyTorch and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from kilonet.spec import Net, load_net
from kilonet.summary import summarize
from strategies import nets

torch = pytest.importorskip("torch")
from reference_net import Residual, SqueezeExcitation, build  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny convolutions are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SAMPLES = settings(max_examples=40, deadline=None)


def image_of(net: Net) -> torch.Tensor:
    return torch.zeros(1, *net.input)


def modules_in_order(net: Net) -> list[tuple[str, torch.nn.Module, torch.Size]]:
    """(path, module, output shape) of every single operation, in the order PyTorch runs them."""
    module = build(net)
    ran = []
    paths = {child: path for path, child in module.named_modules()}
    inside = {
        part
        for child in module.modules()
        if isinstance(child, SqueezeExcitation)
        for part in child.children()
    }
    for child in set(module.modules()) - inside:
        if type(child) is not torch.nn.Sequential:
            child.register_forward_hook(lambda m, _, out: ran.append((paths[m], m, out.shape[1:])))
    with torch.no_grad():
        module(image_of(net))
    return ran


@SAMPLES
@given(nets())
def test_rows_are_pytorchs_modules(net):
    rows = summarize(net).layers
    ran = modules_in_order(net)
    assert [row.module for row in rows] == [path for path, _, _ in ran]
    assert [row.output_shape for row in rows] == [tuple(shape) for _, _, shape in ran]
    assert [row.name for row in rows] == [
        f"{type(module).__name__}-{i}" for i, (_, module, _) in enumerate(ran, start=1)
    ]
    # A residual's parameters are its children's, which have rows of their own.
    assert [row.parameters for row in rows] == [
        sum(p.numel() for p in module.parameters(recurse=isinstance(module, SqueezeExcitation)))
        for _, module, _ in ran
    ]


@SAMPLES
@given(nets())
def test_names_and_layouts_are_the_state_dicts(net):
    state = build(net).state_dict()
    assert {**net.parameters, **net.buffers} == {k: tuple(v.shape) for k, v in state.items()}
    assert list(net.parameters) == [name for name, _ in build(net).named_parameters()]


@SAMPLES
@given(nets())
def test_macs_are_counted_by_pytorch(net):
    from torch.utils.flop_counter import FlopCounterMode

    module = build(net)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(image_of(net))
    # PyTorch counts a multiply-add as two operations.
    assert 2 * summarize(net).macs == counter.get_total_flops()


def gradient_extents(net: Net, paths: set[str]) -> dict[str, tuple[tuple[int, int], ...]]:
    """(first, last) input row and column that the middle output of each module depends on."""
    module = build(net).double()
    for name, child in list(module.named_modules()):
        if isinstance(child, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.constant_(child.weight, 1 / child.weight[0].numel())
            if child.bias is not None:
                torch.nn.init.zeros_(child.bias)  # so that no activation is cut off
        if isinstance(child, torch.nn.GroupNorm | torch.nn.InstanceNorm2d | SqueezeExcitation):
            # What an image is normalized or multiplied by is of all its pixels, and not counted.
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, torch.nn.Identity())
        if isinstance(child, torch.nn.MaxPool2d):
            # The same windows, but every pixel counts.
            mean = torch.nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, mean)
    outputs = {}
    for name, child in module.named_modules():
        if name in paths:
            child.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
    image = torch.ones(1, *net.input, dtype=torch.double, requires_grad=True)
    module(image)
    extents = {}
    for name, out in outputs.items():
        value = out[0, :, out.shape[2] // 2, out.shape[3] // 2] if out.dim() == 4 else out[0]
        [gradient] = torch.autograd.grad(value.sum(), image, retain_graph=True)
        touched = gradient[0].sum(0) != 0
        rows, columns = touched.any(1).nonzero(), touched.any(0).nonzero()
        extents[name] = tuple(
            (int(axis.min()), int(axis.max())) if len(axis) else (0, -1) for axis in (rows, columns)
        )
    return extents


def field_rows(net: Net):
    """The rows where fields change: windows and residuals, whose outputs are maps or see it all."""
    changing = ("Conv2d", "MaxPool2d", "AvgPool2d", "Linear", "Residual")
    rows = [row for row in summarize(net).layers if row.name.startswith(changing)]
    linear = next((i for i, row in enumerate(rows) if row.name.startswith("Linear")), len(rows))
    return [r for i, r in enumerate(rows) if len(r.output_shape) == 3 or i >= linear]


@settings(max_examples=40, deadline=None)
@given(nets(padding=False, max_lines=4, max_channels=6, dropout=False))
def test_receptive_fields_are_what_gradients_reach(net):
    rows = field_rows(net)
    extents = gradient_extents(net, {row.module for row in rows})
    for row in rows:
        reached = tuple(last - first + 1 for first, last in extents[row.module])
        assert reached == row.fields, row


def check_where_no_padding_is_met(net) -> int:
    """Compare each row whose middle output cannot have met padding; how many of its axes those are.

    The field is `field` long and holds the pixels from first to last, so it starts no earlier than
    last − field + 1 and ends no later than first + field − 1.
    """
    rows = field_rows(net)
    extents = gradient_extents(net, {row.module for row in rows})
    compared = 0
    for row in rows:
        axes = zip(extents[row.module], row.fields, net.input[1:], strict=True)
        for (first, last), field, size in axes:
            assert last - first + 1 <= field, row
            if last - field + 1 >= 0 and first + field - 1 < size:
                assert last - first + 1 == field, row
                compared += 1
    return compared


@settings(max_examples=40, deadline=None)
@given(nets(max_lines=4, max_channels=6, dropout=False, sizes=(20, 40)))
def test_receptive_fields_with_padding_are_what_gradients_reach(net):
    check_where_no_padding_is_met(net)


def test_receptive_fields_of_a_residual_network_are_what_gradients_reach():
    net = Net(
        input=(1, 60, 60),
        layers=[
            "conv 4 kernel=5 pad=2 stride=2",
            {"residual": ["conv 4 pad=1", {"residual": ["depthwise kernel=5 pad=2"]}]},
            "maxpool 3 stride=2 pad=1",
            {"residual": ["conv 4 pad=1"]},
            "gap",
            "pointwise 10 bare",
        ],
    )
    # All but the last two rows' fields, at most 35 pixels, lie inside the image.
    assert check_where_no_padding_is_met(net) == 2 * (len(field_rows(net)) - 2)


def test_interims_fields_and_jumps():
    summary = summarize(load_net("interim"))
    rows = {row.module: row for row in summary.layers}
    windows = [f"convblock{i}.0" for i in range(1, 9)]
    windows[2:2] = ["pool1"]
    windows[-1:-1] = ["gap1"]
    assert [rows[name].receptive_field for name in windows] == [
        3, 5, 6, 6, 10, 14, 18, 22, 32, 32,
    ]  # fmt: skip
    assert [rows[name].jump for name in windows] == [1, 1, 2, 2, 2, 2, 2, 2, 12, 12]
    assert summary.receptive_field == 32
    assert summary.covers_input


def test_fields_go_by_axis():
    net = Net(
        input=(1, 9, 20),
        block=["conv"],
        layers=["conv 2 kernel=3x5 stride=1x2", "conv 2 kernel=1x3", "gap", "pointwise 2"],
    )
    one, two, gap, last = summarize(net).layers
    assert (one.fields, one.jumps) == ((3, 5), (1, 2))
    assert (two.fields, two.jumps) == ((3, 9), (1, 2))
    # The map is 7 × 6: 3 + 6 · 1 and 9 + 5 · 2. The last column of the image is never seen.
    assert gap.fields == last.fields == (9, 19)
    assert last.receptive_field == 19
    assert not summarize(net).covers_input


def test_the_field_of_a_sum_is_the_largest_of_its_branches():
    net = Net(
        input=(1, 16, 16),
        block=["conv", "relu"],
        layers=[
            "conv 4",
            {"residual": ["conv 4 pad=1", {"residual": ["conv 4 kernel=5 pad=2"]}, "pointwise 4"]},
            "conv 4",
            "gap",
            "pointwise 10 bare",
        ],
    )
    fields = [(row.name, row.receptive_field) for row in summarize(net).layers]
    assert fields == [
        ("Conv2d-1", 3),
        ("ReLU-2", 3),
        ("Conv2d-3", 5),
        ("ReLU-4", 5),
        ("Conv2d-5", 9),
        ("ReLU-6", 9),
        ("Residual-7", 9),
        ("Conv2d-8", 9),
        ("ReLU-9", 9),
        ("Residual-10", 9),
        ("Conv2d-11", 11),
        ("ReLU-12", 11),
        ("AvgPool2d-13", 22),  # a map of 12: 11 + 11
        ("Conv2d-14", 22),
    ]


def test_linear_layers_see_the_whole_map_once():
    net = Net(
        input=(1, 8, 8),
        block=["conv"],
        layers=["conv 2 stride=2", "flatten", {"residual": ["linear 18"]}, "linear 5", "linear 3"],
    )
    fields = [row.receptive_field for row in summarize(net).layers]
    assert fields == [3, 3, 7, 7, 7, 7]  # a map of 3: 3 + 2 · 2


@pytest.mark.parametrize(
    ("layers", "values"),
    [
        # input 1 × 8 × 8 = 64; convolution to 4 × 6 × 6 = 144; activation in place
        (["conv 4", "gap", "pointwise 2 bare"], 64 + 144),
        # the pool's input and output, 144 + 4 · 3 · 3, are less than 64 + 144
        (["conv 4", "maxpool 2", "gap", "pointwise 2 bare"], 64 + 144),
        # 144 + 8 · 6 · 6 = 432 at the pointwise
        (["conv 4", "pointwise 8", "gap", "pointwise 2 bare"], 144 + 288),
        # within the residual: its input 144 is kept while 288 goes to 144
        (
            ["conv 4", {"residual": ["pointwise 8", "pointwise 4"]}, "gap", "pointwise 2"],
            144 + 288 + 144,
        ),
        # an activation first in the body may not overwrite what the sum needs: 144 + 144
        (["conv 4", {"residual": ["relu"]}, "gap", "pointwise 2 bare"], 144 + 144),
        # two residuals that keep the same input keep it once: 144 + 288 + 144
        (
            ["conv 4", {"residual": [{"residual": ["pointwise 8", "pointwise 4"]}]}, "gap"],
            144 + 288 + 144,
        ),
        # the outer keeps 144, the inner another 144: 144 + 144 + 288 + 144
        (
            ["conv 4", {"residual": ["relu", {"residual": ["pointwise 8", "pointwise 4"]}]}, "gap"],
            144 + 144 + 288 + 144,
        ),
        # flat: 64 in, 30 out, 10 out
        (["flatten", "linear 30", "relu", "linear 10"], 64 + 30),
    ],
)
def test_peak_activation_memory_by_hand(layers, values):
    net = Net(input=(1, 8, 8), block=["conv", "relu"], layers=layers)
    assert summarize(net).peak_activation_bytes == 4 * values


def test_the_residual_of_the_reference_adds():
    x = torch.full((1, 2), 3.0)
    assert Residual({"relu1": torch.nn.ReLU()})(x).tolist() == [[6.0, 6.0]]
