import io
import os
import struct
import zipfile

import numpy as np
import pytest

from kilonet.errors import DataError
from kilonet.storage.npz import npz_names, read_npz


def npy(header: str, data: bytes = b"", version=(1, 0)) -> bytes:
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def zipped(folder, content: bytes, method=zipfile.ZIP_STORED):
    path = folder / "file.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)),
        np.array([1, 2, 3], dtype=">i8"),
        np.array(7, dtype=np.int16),
        np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8),
    ],
)
def test_reads_what_numpy_writes(tmp_path, save, array):
    save(tmp_path / "file.npz", a=array, other=np.zeros(3))
    found = read_npz(tmp_path / "file.npz", names=["a"])["a"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.flags.c_contiguous
    assert npz_names(tmp_path / "file.npz") == {"a", "other"}


def test_reads_the_second_header_version_and_python_2s_long_integers(tmp_path):
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3L,)}"
    second = zipped(tmp_path, npy(header.replace("L", ""), b"\1\2\3", version=(2, 0)))
    assert read_npz(second, names=["a"])["a"].tolist() == [1, 2, 3]
    old = zipped(tmp_path, npy(header, b"\1\2\3"))
    assert read_npz(old, names=["a"])["a"].tolist() == [1, 2, 3]


def test_pickled_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.savez(tmp_path / "file.npz", a=np.array([Trap()], dtype=object))
    with pytest.raises(DataError, match="pickled Python objects"):
        read_npz(tmp_path / "file.npz", names=["a"])
    assert not (tmp_path / "sprung").exists()


U1 = "{'descr': '|u1', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a NumPy array"),
        (b"hello, I am text", "not a NumPy array"),
        (npy(U1 % "(4,)", version=(3, 0)), "not a NumPy array: version (3, 0)"),
        (npy("(" * 5000), "not a NumPy array"),
        (npy("{" + " " * 12_000), "not a NumPy array"),
        (npy("{'shape': (4,)}", b"1234"), "not a NumPy array"),
        (npy(U1 % "'many'"), "not a NumPy array"),
        (npy(U1 % "(0, 28, 28)"), "empty: its header announces the shape (0, 28, 28)"),
        (npy(U1 % "(-2, -2)", b"1234"), "empty: its header announces the shape (-2, -2)"),
        (
            npy(U1 % "(5,)", b"1234"),
            "announces 5 bytes of data for the shape (5,) of uint8, but 4 are",
        ),
        (
            npy(U1 % "(3,)", b"1234"),
            "announces 3 bytes of data for the shape (3,) of uint8, but 4 are",
        ),
        (npy(U1 % "(10**30,)", b"1234"), "not a NumPy array"),
        (npy(U1 % f"({10**30},)", b"1234"), "but 4 are stored"),
        (npy(U1 % ("(" + "1," * 70 + ")"), b"1"), "damaged"),
    ],
)
def test_refused_in_one_line(tmp_path, content, message):
    path = zipped(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_npz(path, names=["a"])
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_only_the_packing_that_numpy_writes(tmp_path, method):
    path = zipped(tmp_path, npy(U1 % "(4,)", b"1234"), method)
    with pytest.raises(DataError, match="compressed by a method that NumPy does not use"):
        read_npz(path, names=["a"])


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    # 64 MB of zeros behind a header of 4 bytes: the sizes give it away before they are read.
    path = zipped(tmp_path, npy(U1 % "(4,)", bytes(64 << 20)), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    read = zipfile.ZipExtFile.read
    unpacked = []

    def counting(self, size=-1):
        data = read(self, size)
        unpacked.append(len(data))
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counting)
    with pytest.raises(DataError, match="announces 4 bytes of data"):
        read_npz(path, names=["a"])
    assert sum(unpacked) <= 1 << 14


def test_a_directory_that_lies_about_the_size(tmp_path):
    path = zipped(tmp_path, npy(U1 % "(4,)", b"1234"), zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 3_000_000_000)  # unpacked size
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"3,000,000,000 bytes, more than its \d+ packed bytes"):
        read_npz(path, names=["a"])


def test_a_flipped_bit_in_the_data(tmp_path):
    path = zipped(tmp_path, npy(U1 % "(4,)", b"1234"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1234", b"1235", 1))
    with pytest.raises(DataError, match="damaged: Bad CRC-32"):
        read_npz(path, names=["a"])


def test_every_truncation_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.arange(10))
    path = tmp_path / "file.npz"
    for length in range(len(buffer.getvalue())):
        path.write_bytes(buffer.getvalue()[:length])
        with pytest.raises(DataError, match="not a complete NPZ"):
            read_npz(path, names=["a"])


def test_missing_array(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="b: no such array"):
        read_npz(tmp_path / "file.npz", names=["b"])
