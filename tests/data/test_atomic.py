import os
import time

import pytest

from kilonet.data.atomic import remove_abandoned, replacing


def test_whole_or_as_it_was(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with pytest.raises(KeyError), replacing(path) as file:
        raise KeyError(file.write(b"half of tw"))
    assert path.read_bytes() == b"one"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "absent" / "file"):
        pass


def test_only_what_was_abandoned_is_removed(tmp_path):
    path = tmp_path / "file"
    old, new, other = (tmp_path / name for name in (".file.aa.tmp", ".file.bb.tmp", ".else.aa.tmp"))
    for aside in (old, new, other):
        aside.touch()
    two_hours_ago = time.time() - 7200
    for aside in (old, other):
        os.utime(aside, (two_hours_ago, two_hours_ago))
    remove_abandoned(path)
    assert {found.name for found in tmp_path.iterdir()} == {".file.bb.tmp", ".else.aa.tmp"}
