import dataclasses
import hashlib
import pickle

import numpy as np
import pytest

from kilonet.data.dataset import Dataset
from kilonet.errors import DataError


def test_arrays_are_brought_to_one_form(arrays):
    arrays["train_images"] = np.asfortranarray(arrays["train_images"][..., None])
    arrays["train_labels"] = arrays["train_labels"].astype(">u2")[:, None]
    dataset = Dataset(name="small", **arrays)
    assert dataset.train_images.shape == (12, 5, 4)
    for images in (dataset.train_images, dataset.test_images):
        assert images.dtype == np.uint8
        assert images.flags.c_contiguous
        assert not images.flags.writeable
    for labels in (dataset.train_labels, dataset.test_labels):
        assert labels.dtype == np.int64
        assert labels.flags.c_contiguous
        assert not labels.flags.writeable
    assert dataset.image_shape == (1, 5, 4)
    assert dataset.num_classes == 3


def test_frozen(arrays):
    dataset = Dataset(name="small", **arrays)
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        dataset.train_images[0] = 0


def test_repr_is_short(arrays):
    assert repr(Dataset(name="small", **arrays)) == (
        "Dataset('small': 12 training and 6 test images of 1 × 5 × 4, 3 classes)"
    )


def test_without_test_images(arrays):
    whole = Dataset(name="small", **arrays)
    rest = whole.without_test()
    assert (whole.has_test, rest.has_test) == (True, False)
    assert rest.test_images.shape == (0, 5, 4)
    assert rest.test_labels.shape == (0,)
    np.testing.assert_array_equal(rest.train_images, whole.train_images)
    assert rest.fingerprint == whole.fingerprint
    assert pickle.loads(pickle.dumps(rest)).fingerprint == whole.fingerprint
    assert "12 training and no test images" in repr(rest)
    train = {name: array for name, array in arrays.items() if name.startswith("train")}
    alone = Dataset(name="small", **train)
    assert not alone.has_test
    digest = hashlib.sha256()
    for header, array in (
        (b"\0\0\x08\x03" + np.array([12, 5, 4], ">i4").tobytes(), arrays["train_images"]),
        (b"\0\0\x08\x01" + np.array([12], ">i4").tobytes(), arrays["train_labels"]),
    ):
        digest.update(header + array.astype(np.uint8).tobytes())
    assert alone.fingerprint == digest.hexdigest() != whole.fingerprint
    with pytest.raises(DataError, match="test images without test labels"):
        Dataset(name="small", test_images=arrays["test_images"], **train)
    with pytest.raises(DataError, match="test labels without test images"):
        Dataset(name="small", test_labels=arrays["test_labels"], **train)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_images": np.zeros((12, 5, 4), np.float32)},
            "train images are float32; expected uint8, 0 to 255 (multiply pixels",
        ),
        ({"test_images": np.zeros((6, 5, 4), np.int64)}, "0 to 255: images.astype('uint8'), if"),
        ({"test_images": np.zeros((6, 5, 4), bool)}, "0 to 255: images * numpy.uint8(255)"),
        ({"test_images": np.zeros((6, 5, 4), np.int16)}, "test images are int16; expected uint8"),
        ({"train_images": np.zeros((12, 20), np.uint8)}, "train images have the shape (12, 20)"),
        ({"train_images": np.zeros((12, 3, 5, 4), np.uint8)}, "channels last"),
        ({"test_images": np.zeros((0, 5, 4), np.uint8)}, "test images are empty"),
        ({"train_images": np.zeros((12, 0, 4), np.uint8)}, "train images are empty"),
        (
            {"test_images": np.zeros((6, 4, 5), np.uint8)},
            "training images are 5 × 4 but test images are 4 × 5",
        ),
        ({"test_images": np.zeros((6, 5, 4, 3), np.uint8)}, "test images are 5 × 4 × 3"),
        ({"test_images": np.zeros((7, 5, 4), np.uint8)}, "7 test images but 6 test labels"),
        ({"train_labels": np.zeros(12)}, "train labels are float64; expected integers from 0 (l"),
        ({"train_labels": np.full(12, 0.5)}, "from 0, and some are not whole numbers"),
        ({"train_labels": np.full(12, np.nan)}, "from 0, and some are not whole numbers"),
        ({"train_labels": np.zeros(12, bool)}, "train labels are bool; expected integers"),
        ({"train_labels": np.array(["a"] * 12)}, "train labels are text (<U1); expected integers"),
        ({"train_labels": np.array([b"a"] * 12)}, "train labels are text (|S1); expected"),
        ({"train_labels": np.eye(12, dtype=np.int64)}, "not one-hot"),
        ({"train_labels": np.eye(12, dtype=np.float32)}, "labels.argmax(axis=1) has the numbers"),
        ({"train_labels": np.array([], np.int64)}, "train labels are empty"),
        (
            {"train_labels": np.array([0] * 5 + [-1] * 7)},
            "train label -1 at index 5 is out of range",
        ),
        (
            {"train_labels": np.array([0] * 11 + [1000])},
            "train label 1000 at index 11 is out of range",
        ),
        (
            {"train_labels": np.array([2**64 - 1] * 12, np.uint64)},
            "train label 18446744073709551615 at",
        ),
        (
            {"test_labels": np.array([0, 1, 2, 3, 0, 1])},
            "test label 3 at index 3 is out of range: the classes are 0 to 2",
        ),
        (
            {"classes": ("a", "b")},
            "train label 2 at index 2 is out of range: the classes are 0 to 1",
        ),
        (
            {
                "classes": ("a", "b", "c"),
                "train_labels": np.arange(12) % 3 + 1,
                "test_labels": np.arange(6) % 3 + 1,
            },
            "the classes are 0 to 2; the labels count from 1, so subtract 1",
        ),
        ({"classes": ("a", " ", "c")}, "the name of class 1 is empty"),
        ({"classes": ("a b", "c", "a\n b")}, "class names are not unique: a b"),
    ],
)
def test_refused_in_one_line(arrays, change, message):
    with pytest.raises(DataError) as caught:
        Dataset(name="small", **{**arrays, **change})
    assert message in str(caught.value)
    assert str(caught.value).startswith("small: ")
    assert "\n" not in str(caught.value)


def test_fingerprint_is_the_sha256_of_the_idx_streams(arrays):
    dataset = Dataset(name="small", **arrays)
    content = b""
    for key, header in [
        ("train_images", "00000803 0000000c 00000005 00000004"),
        ("train_labels", "00000801 0000000c"),
        ("test_images", "00000803 00000006 00000005 00000004"),
        ("test_labels", "00000801 00000006"),
    ]:
        content += bytes.fromhex(header) + arrays[key].tobytes()
    assert dataset.fingerprint == hashlib.sha256(content).hexdigest()


def test_fingerprint_follows_content_alone(arrays):
    first = Dataset(name="small", **arrays).fingerprint
    again = {key: array.copy() for key, array in arrays.items()}
    assert Dataset(name="other", source="elsewhere", **again).fingerprint == first
    again["test_labels"][5] = 0
    assert Dataset(name="small", **again).fingerprint != first


def test_more_classes_than_a_byte_holds(arrays):
    arrays["train_labels"] = np.array([0, 256] * 6)
    dataset = Dataset(name="many", **arrays)
    stored = dict(dataset.idx_arrays())
    assert stored["train labels"].dtype == np.int32
    assert stored["train labels"].tolist() == [0, 256] * 6


@pytest.mark.parametrize("channels", [1, 3])
def test_histogram(channels, monkeypatch):
    monkeypatch.setattr("kilonet.data.dataset._HISTOGRAM_CHUNK", 3)
    images = np.random.default_rng(1).integers(0, 256, (8, 5, 4, channels), dtype=np.uint8)
    labels = np.zeros(8, np.int64)
    dataset = Dataset(
        name="h", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    expected = [np.histogram(images[..., c], bins=256, range=(0, 256))[0] for c in range(channels)]
    np.testing.assert_array_equal(dataset.train_histogram, expected)


def test_class_names_are_text_of_one_line(arrays):
    names = ["$a_b$", "日本\n語\t x", "<b>\x1b[1m\ud800"]
    dataset = Dataset(name="d", classes=names, **arrays)
    assert dataset.classes == ("$a_b$", "日本 語 x", "<b> [1m?")


def test_more_names_than_labels(arrays):
    assert Dataset(name="d", classes=tuple("abcde"), **arrays).num_classes == 5
