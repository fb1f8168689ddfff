import dataclasses
import mmap
import os
import subprocess
import sys

import numpy as np
import pytest

import kilonet.data.mnist as module
from kilonet.data import describe, load_dataset, normalization
from kilonet.data.mnist import cache_folder, load_mnist
from kilonet.errors import DataError
from kilonet.spec import Data
from kilonet.storage.atomic import replacing

ORIGINAL_MD5 = {
    ("train", "images_md5"): "6bbc9ace898e44ae57da46a324031adb",
    ("train", "labels_md5"): "a25bea736e30d166cdddb491f175f624",
    ("test", "images_md5"): "2646ac647ad5339dbf082846283269ea",
    ("test", "labels_md5"): "27ae3e4e09519cfbb04c329615203637",
}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The unpacked file, so that tests need not unpack it again."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KILONET_CACHE", str(folder))
        load_mnist()
    (path,) = folder.iterdir()
    return path.name, path.read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("KILONET_CACHE", str(folder))
    return folder


@pytest.fixture
def filled(cache, content):
    cache.mkdir()
    path = cache / content[0]
    path.write_bytes(content[1])
    return path


@pytest.fixture
def unpackings(monkeypatch, content):
    """How often the embedded file was unpacked; it is not, for speed."""
    calls = []

    def unpack():
        calls.append(None)
        return content[1]

    monkeypatch.setattr(module, "_unpack", unpack)
    return calls


def memory_of(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


def test_it_is_mnist_byte_for_byte(filled):
    dataset = load_dataset("mnist")
    summary = describe(dataset)
    found = {key: summary.to_json()[key[0]][key[1]] for key in ORIGINAL_MD5}
    assert found == ORIGINAL_MD5
    assert (summary.train.num_images, summary.test.num_images) == (60_000, 10_000)
    assert summary.image_shape == (1, 28, 28)
    # The labels as the published files begin.
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # The notebook's figures.
    found = normalization(lambda: dataset.train_histogram, data=Data(), where="mnist")
    assert (found.mean, found.std) == ((0.1307,), (0.3081,))
    assert "CC BY-SA 3.0" in dataset.license


def test_the_known_fingerprint_is_the_fingerprint(filled):
    dataset = load_mnist()
    computed = dataclasses.replace(dataset, name="the same images")
    assert computed.fingerprint == dataset.fingerprint


def test_a_part_of_it_has_a_fingerprint_of_its_own(filled):
    dataset = load_mnist()
    images, labels = dataset.train_images[:100], dataset.train_labels[:100]
    part = dataclasses.replace(dataset, train_images=images, train_labels=labels)
    assert part.fingerprint != dataset.fingerprint


def test_unpacked_once_then_mapped(cache, unpackings):
    for _ in range(3):
        dataset = load_mnist()
        assert isinstance(memory_of(dataset.train_images), mmap.mmap)
        assert dataset.train_images.flags.c_contiguous
        assert not dataset.train_images.flags.writeable
    assert len(unpackings) == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", ["empty", "half", "longer", "one bit", "a folder"])
def test_a_damaged_cache_is_rebuilt(filled, content, unpackings, damage):
    whole = content[1]
    if damage == "a folder":
        filled.unlink()
        filled.mkdir()
    else:
        middle = len(whole) // 2
        filled.write_bytes(
            {
                "empty": b"",
                "half": whole[:middle],
                "longer": whole + b"\0",
                "one bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            }[damage]
        )
    dataset = load_mnist()
    assert len(unpackings) == 1
    assert dataset.test_images.tobytes() == whole[-7_840_000 - 10_008 : -10_008]
    if damage != "a folder":
        assert filled.read_bytes() == whole
    assert len(list(filled.parent.iterdir())) == 1


@pytest.mark.parametrize("obstacle", ["a file in the way", "no rename", "disk full"])
def test_without_a_cache_it_stays_in_memory(cache, unpackings, monkeypatch, obstacle):
    if obstacle == "a file in the way":
        cache.touch()
    elif obstacle == "no rename":
        monkeypatch.setattr(
            "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(PermissionError())
        )
    else:
        monkeypatch.setattr(
            "os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left"))
        )
    dataset = load_mnist()
    assert isinstance(memory_of(dataset.train_images), bytes)
    assert len(dataset.test_labels) == 10_000
    assert cache.is_file() or not list(cache.iterdir())


def test_a_rebuilt_cache_leaves_a_mapped_one_whole(filled, content):
    dataset = load_mnist()
    before = dataset.train_images[:100].copy()
    with replacing(filled) as file:
        file.write(b"")
    np.testing.assert_array_equal(dataset.train_images[:100], before)
    assert dataset.train_images.tobytes() == content[1][16 : 16 + 47_040_000]


WITHOUT_UNPACKING = """
import hashlib, os, pathlib, signal, sys
from kilonet.data import load_dataset, mnist
mnist._unpack = pathlib.Path(sys.argv[1]).read_bytes
"""


def test_processes_that_start_at_once(cache, filled, tmp_path):
    content = filled.rename(tmp_path / "content")
    program = WITHOUT_UNPACKING + (
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(hashlib.sha256(load_dataset('mnist').train_images).hexdigest())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(content)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    digests = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 3
    assert len(digests) == 1
    (path,) = cache.iterdir()
    assert path.read_bytes() == content.read_bytes()


def test_a_process_killed_while_writing(cache, filled, unpackings, tmp_path):
    content = filled.rename(tmp_path / "content")
    program = WITHOUT_UNPACKING + (
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\nload_dataset('mnist')"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(content)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == -9
    (aside,) = cache.iterdir()
    assert aside.name.endswith(".tmp")
    os.utime(aside, (0, 0))
    dataset = load_mnist()
    assert isinstance(memory_of(dataset.train_images), mmap.mmap)
    (path,) = cache.iterdir()
    assert path.name == filled.name


@pytest.mark.parametrize("packed", [b"", b"no xz at all", b"the start of it"])
def test_a_damaged_package_is_an_error(cache, monkeypatch, tmp_path, packed):
    if packed == b"the start of it":
        packed = module.resources.files("kilonet.data").joinpath("mnist.idx.xz").read_bytes()[:5000]
    (tmp_path / "mnist.idx.xz").write_bytes(packed)
    monkeypatch.setattr(module.resources, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match="install kilonet again") as caught:
        load_mnist()
    assert "\n" not in str(caught.value)


def test_the_embedded_file_is_within_its_limit():
    packed = module.resources.files("kilonet.data").joinpath("mnist.idx.xz")
    assert len(packed.read_bytes()) <= 10_000_000
    terms = module.resources.files("kilonet.data").joinpath("MNIST-LICENSE.md").read_text("utf-8")
    for word in ("LeCun", "Cortes", "Burges", "ShareAlike 3.0", "What was changed"):
        assert word in terms


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("KILONET_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("KILONET_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert "kilonet" in cache_folder().parts
