import numpy as np
import pytest

from kilonet.data import load_dataset
from kilonet.errors import DataError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "no data set 'mnits'; did you mean 'mnist'? (or give the path"),
        ("MNIST", "did you mean 'mnist'?"),
        ("cifar", "no data set 'cifar'; known: mnist (or give the path"),
        ("", "neither the name of a data set nor a path"),
        ("a\0b", "neither the name of a data set nor a path"),
        ("./digits", "digits: no such file or folder"),
        ("digits.npz", "digits.npz: no such file or folder"),
        ("~nobody-of-this-name/digits", "no such home folder"),
    ],
)
def test_unknown(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load_dataset(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_by_path(arrays, idx_folder, monkeypatch):
    folder = idx_folder(arrays)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    for path in (folder, str(folder), "digits", "~/digits"):
        np.testing.assert_array_equal(load_dataset(path).train_images, arrays["train_images"])
