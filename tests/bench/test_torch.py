"""The benchmark's PyTorch implementation: the notebook's network and training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kilonet.bench.measure import LOGITS_TOLERANCE, log_softmax, loss_problem
from kilonet.bench.native import EngineSteps
from kilonet.bench.torch import Digits, TorchSteps, notebook_net, plain_model
from kilonet.data import Dataset, RunData
from kilonet.spec import Net, load_run


@pytest.fixture(scope="module")
def images(mnist: Dataset) -> RunData:
    return RunData.of(load_run("interim"), mnist)


def test_the_notebooks_network_has_the_bundled_ones_parameters() -> None:
    parameters = load_run("interim").net.parameters
    shapes = [tuple(parameter.shape) for parameter in notebook_net().parameters()]
    assert shapes == list(parameters.values())
    assert sum(parameter.numel() for parameter in notebook_net().parameters()) == 7864


@pytest.mark.parametrize("variant", ["eager", "channels_last"])
def test_equal_weights_give_equal_logits(images: RunData, variant: str) -> None:
    run = load_run("interim")
    native = EngineSteps(run, images, engine="native", threads=1)
    plain = TorchSteps(run, images, variant=variant)
    for _ in range(3):
        native.step()
    plain.load_weights(native.engine.weights())
    digits = images.test_images[:300]
    expected, found = log_softmax(native.logits(digits)), log_softmax(plain.logits(digits))
    assert np.linalg.norm(found - expected) <= LOGITS_TOLERANCE * np.linalg.norm(expected)
    assert np.argmax(expected, axis=1).tolist() == plain.evaluation(digits)().tolist()


def test_steps_train(images: RunData) -> None:
    run = load_run("interim").replace({"train.batch_size": 32})
    plain = TorchSteps(run, images, variant="eager")
    assert loss_problem([float(plain.step()) for _ in range(16)]) is None


def test_other_networks_are_built_from_their_spec() -> None:
    net = Net.from_dict({"input": [1, 28, 28], "layers": ["flatten", "linear 10"]})
    model = plain_model(net)
    assert [tuple(p.shape) for p in model.parameters()] == list(net.parameters.values())
    assert torch.allclose(model(torch.randn(3, 1, 28, 28)).exp().sum(dim=1), torch.ones(3))


def test_weights_of_another_network_are_refused(images: RunData) -> None:
    run = load_run("interim")
    plain = TorchSteps(run, images, variant="eager")
    with pytest.raises(ValueError, match="shape"):
        plain.load_weights({name: np.zeros(3) for name in plain._plain.state_dict()})


def test_digits_are_rotated_for_training_alone(images: RunData) -> None:
    torch.manual_seed(0)
    train, test = Digits(images, train=True), Digits(images, train=False)
    assert (len(train), len(test)) == (60_000, 10_000)
    one, label = train[5]
    assert (tuple(one.shape), one.dtype, label) == ((1, 28, 28), torch.float32, 2)
    assert not torch.equal(one, train[5][0])
    pixels = (torch.tensor(images.test_images[5]).float() / 255 - 0.1307) / 0.3081
    assert torch.allclose(test[5][0][0], pixels)
