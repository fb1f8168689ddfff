"""What is refused before training: over budget, unfit for the data."""

from __future__ import annotations

import pytest

from kilonet.errors import BudgetError, DataError, NetError
from kilonet.spec import Net, load_net
from kilonet.summary import check_budget, check_data

WHERE = "mnist-8k, step 1 'Batch normalization'"


@pytest.mark.parametrize("parameters", [None, 7864, 8000])
def test_within_budget(parameters):
    check_budget(load_net("interim"), parameters=parameters, where=WHERE)


def test_over_budget_says_by_how_many_and_what_weighs_most():
    with pytest.raises(BudgetError) as raised:
        check_budget(load_net("interim"), parameters=7863, where=WHERE)
    # The eighth line holds 16 · 16 · 3 · 3 weights and batch norm's 32.
    assert str(raised.value) == (
        f"{WHERE}: 7,864 parameters are 1 over the budget of 7,863; most are in net.layers.7 "
        "'conv 16 pad=1' (2,336): make the network smaller or raise budget.parameters"
    )
    assert raised.value.exit_code == 1


def test_over_budget_inside_a_residual():
    net = Net(
        input=(1, 8, 8),
        layers=["conv 4", {"residual": ["conv 9 pad=1", "conv 4 pad=1 bias"]}, "gap"],
    )
    with pytest.raises(
        BudgetError, match=r"net\.layers\.1\.residual\.1 'conv 4 pad=1 bias' \(328\)"
    ):
        check_budget(net, parameters=10, where="net")


def test_data_that_fits():
    check_data(load_net("interim"), image_shape=(1, 28, 28), num_classes=10, where="mnist")


@pytest.mark.parametrize(
    ("image_shape", "remedy"),
    [
        ((1, 32, 32), "set net.input = [1, 32, 32] or data.resize = [28, 28]"),
        ((3, 28, 28), "set net.input = [3, 28, 28]"),
    ],
)
def test_images_of_another_shape(image_shape, remedy):
    with pytest.raises(DataError) as raised:
        check_data(load_net("interim"), image_shape=image_shape, num_classes=10, where="digits.npz")
    shape = " × ".join(map(str, image_shape))
    assert str(raised.value) == (
        f"digits.npz: images of {shape} do not fit the network's input of 1 × 28 × 28; {remedy}"
    )


@pytest.mark.parametrize("classes", [9, 11])
def test_classes_that_do_not_match(classes):
    with pytest.raises(NetError) as raised:
        check_data(
            load_net("interim"), image_shape=(1, 28, 28), num_classes=classes, where="letters"
        )
    assert str(raised.value).startswith("net.layers.9 'pointwise 10 bare': ")
    assert f"letters has {classes} classes; end with {classes} outputs" in str(raised.value)
    assert raised.value.exit_code == 2


def test_labels_that_count_from_1():
    """Ten digits from 1 to 10 are eleven classes."""
    with pytest.raises(NetError) as raised:
        check_data(
            load_net("interim"), image_shape=(1, 28, 28), num_classes=11, where="d", first_label=1
        )
    assert str(raised.value).endswith(
        "d has 11 classes; end with 11 outputs, or subtract 1 from the labels, which begin at 1, "
        "if they count from 1"
    )
