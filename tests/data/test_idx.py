import gzip
import hashlib
import struct

import numpy as np
import pytest

from kilonet.data.idx import idx_header, idx_md5, read_idx
from kilonet.errors import DataError


def write(folder, content):
    path = folder / "file-idx"
    path.write_bytes(content)
    return path


def test_the_header_is_that_of_the_original_training_images():
    images = np.broadcast_to(np.uint8(0), (60_000, 28, 28))
    # As od shows the first 16 bytes of the published file.
    assert idx_header(images).hex() == "00000803" + "0000ea60" + "0000001c" + "0000001c"


def test_md5_is_that_of_the_stream():
    labels = np.array([5, 0, 4], dtype=np.uint8)
    assert idx_md5(labels) == hashlib.md5(b"\0\0\x08\x01\0\0\0\x03\x05\0\x04").hexdigest()
    wide = np.array([1, 300], dtype=np.int32)
    assert (
        idx_md5(wide)
        == hashlib.md5(b"\0\0\x0c\x01\0\0\0\x02" + struct.pack(">2i", 1, 300)).hexdigest()
    )


@pytest.mark.parametrize(
    ("code", "form", "dtype"),
    [
        (8, "B", np.uint8),
        (9, "b", np.int8),
        (11, "h", np.int16),
        (12, "i", np.int32),
        (13, "f", np.float32),
        (14, "d", np.float64),
    ],
)
def test_every_element_type(tmp_path, code, form, dtype):
    content = struct.pack(f">BBBBII6{form}", 0, 0, code, 2, 2, 3, *range(6))
    array = read_idx(write(tmp_path, content))
    assert array.dtype == dtype
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_gzip_is_recognized_by_content(tmp_path):
    content = b"\0\0\x08\x01\0\0\0\x02\x07\x08"
    (tmp_path / "packed").write_bytes(gzip.compress(content, mtime=0))
    (tmp_path / "plain.gz").write_bytes(content)
    assert read_idx(tmp_path / "packed").tolist() == [7, 8]
    assert read_idx(tmp_path / "plain.gz").tolist() == [7, 8]


GOOD = b"\0\0\x08\x01\0\0\0\x04\1\2\3\4"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"\0\0", "not an IDX file"),
        (b"\0\0\x07\x01\0\0\0\x01\1", "not an IDX file: it starts with the bytes 00 00 07 01"),
        (b"\1\0\x08\x01\0\0\0\x01\1", "not an IDX file"),
        (b"\0\0\x08\0", "not an IDX file"),
        (b"\0\0\x08\x05" + b"\0\0\0\1" * 5 + b"\1", "not an IDX file"),
        (b"\0\0\x08\x03\0\0\0\1\0\0", "truncated inside its header"),
        (b"\0\0\x08\x01\0\0\0\0", "empty: its header announces the shape (0,)"),
        (b"\0\0\x08\x04\0\0\0\0" + b"\xff" * 12, "empty: its header"),
        (GOOD[:-1], "truncated: 3 of the 4 bytes"),
        (GOOD[:-4] + b"", "truncated: 0 of the 4 bytes"),
        (GOOD + b"x", "holds more than the 4 bytes"),
        (b"\0\0\x08\x04" + b"\xff" * 16, "truncated: its header announces 340,282,"),
        (gzip.compress(GOOD, mtime=0)[:-9], "gzip stream is truncated"),
        (gzip.compress(GOOD, mtime=0)[:-8] + b"\0" * 8, "gzip stream is damaged"),
        (gzip.compress(GOOD, mtime=0)[:3] + b"\xff" * 20, "gzip stream is"),
        (gzip.compress(GOOD[:-1], mtime=0), "truncated: 3 of the 4 bytes"),
        (gzip.compress(GOOD + b"x", mtime=0), "holds more than the 4 bytes"),
        (gzip.compress(b"\0\0\x08\x01\xff\xff\xff\xff\1", mtime=0), "more than the file can hold"),
    ],
)
def test_refused_in_one_line(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_gzip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    # 64 MB of zeros behind a header of 4 bytes; what is unpacked is counted.
    path = write(tmp_path, gzip.compress(GOOD + bytes(64 << 20), mtime=0))
    read = gzip.GzipFile.read
    unpacked = []

    def counting(self, size=-1):
        data = read(self, size)
        unpacked.append(len(data))
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    with pytest.raises(DataError, match="holds more than the 4 bytes"):
        read_idx(path)
    assert sum(unpacked) == len(GOOD) + 1


def test_unreadable(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_idx(tmp_path)
