import numpy as np
import pytest
from PIL import Image

from kilonet.data.dataset import Dataset
from kilonet.data.samples import draw_samples
from kilonet.errors import DataError, UsageError


def flat(values, shape):
    """One image of a single value for each value."""
    return np.stack([np.full(shape, value, np.uint8) for value in values])


@pytest.fixture
def dataset():
    labels = np.array([1, 0, 1, 1])
    images = flat([200, 10, 150, 100], (28, 28))
    return Dataset(
        name="d", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )


def tiles(path, *, columns, rows):
    """The color in the middle of each tile, counted from the right edge of the sheet."""
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        width, _ = sheet.size
        left = width - 8 - columns * 58 + 2
        return [
            [
                sheet.getpixel((left + 58 * column + 28, 8 + 58 * row + 28))
                for column in range(columns)
            ]
            for row in range(rows)
        ]


def test_a_row_for_each_class_in_the_order_of_the_data(dataset, tmp_path):
    path = tmp_path / "samples.png"
    path.write_bytes(b"an older file")
    draw_samples(dataset, path, per_class=2)
    white = (255, 255, 255)
    assert tiles(path, columns=2, rows=2) == [
        [(10, 10, 10), white],
        [(200, 200, 200), (150, 150, 150)],
    ]
    assert [found.name for found in tmp_path.iterdir()] == ["samples.png"]


def test_class_names_stand_beside_the_rows(dataset, tmp_path):
    draw_samples(dataset, tmp_path / "s.png", per_class=1)
    with Image.open(tmp_path / "s.png") as sheet:
        names = np.asarray(sheet)[:, : sheet.width - 8 - 56]
    for row in range(2):
        assert names[8 + 58 * row : 64 + 58 * row].min() < 100


@pytest.mark.parametrize("shape", [(5, 9, 3), (300, 200, 3), (1, 1), (56, 57)])
def test_images_of_any_size(tmp_path, shape):
    images, labels = flat([70, 90], shape), np.array([0, 1])
    dataset = Dataset(
        name="d", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    draw_samples(dataset, tmp_path / "s.png", per_class=1)
    assert tiles(tmp_path / "s.png", columns=1, rows=2) == [[(70, 70, 70)], [(90, 90, 90)]]


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1, 3)])
def test_images_that_are_lines(tmp_path, shape):
    images, labels = flat([70], shape), np.array([0])
    dataset = Dataset(
        name="d", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    draw_samples(dataset, tmp_path / "s.png", per_class=1)
    with Image.open(tmp_path / "s.png") as sheet:
        drawn = np.asarray(sheet)[:, sheet.width - 8 - 56 :]
    assert (drawn == 70).all(axis=2).sum() == 56


def names_of(classes, path):
    """The sheet's part with the names."""
    images, labels = flat([0] * len(classes), (8, 8)), np.arange(len(classes))
    dataset = Dataset(
        name="d",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        classes=classes,
    )
    draw_samples(dataset, path, per_class=1)
    with Image.open(path) as sheet:
        return np.asarray(sheet)[:, : sheet.width - 8 - 56]


def test_class_names_are_any_text(tmp_path):
    path = tmp_path / "s.png"
    assert names_of(["a" * 5000], path).shape[1] < 600
    np.testing.assert_array_equal(names_of(["a" * 39 + "…"], path), names_of(["a" * 5000], path))
    # Not markup.
    assert (names_of(["$x^2$"], path).shape) != (names_of(["x2"], path).shape)
    assert names_of(["Größe"], path).min() < 100
    # What the font has no glyphs for would be boxes.
    np.testing.assert_array_equal(names_of(["日本語"], path), names_of(["class 0"], path))


def test_refused(dataset, tmp_path):
    for per_class in (0, -1, 101):
        with pytest.raises(UsageError, match="1 to 100"):
            draw_samples(dataset, tmp_path / "s.png", per_class=per_class)
    with pytest.raises(DataError, match="cannot be written: No such file or directory"):
        draw_samples(dataset, tmp_path / "absent" / "s.png")
    for folder in (tmp_path, "/"):
        with pytest.raises(DataError, match="is a folder; name the PNG file to write"):
            draw_samples(dataset, folder)
    with pytest.raises(UsageError, match="is not a path: it is empty"):
        draw_samples(dataset, "")
    assert not list(tmp_path.iterdir())
