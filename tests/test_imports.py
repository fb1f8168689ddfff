"""Which way the imports run, and what an import of kilonet may pull in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kilonet

SOURCE = Path(kilonet.__file__).parent

# A room may import from the rooms above its own line. Rooms on one line never import one another.
# Not every room need be built yet.
ORDER = [
    ["errors"],
    ["atomic", "environment", "lock", "randomness", "table"],
    ["spec"],
    ["summary", "data"],
    ["schedule"],
    ["engine"],
    ["record"],
    ["sealed"],
    ["store"],
    ["run"],
    ["range_test", "pool"],
    ["tasks"],
    ["study"],
    ["analysis", "bench"],
    ["report", "search", "export"],
    ["cli"],
    ["entry"],
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
ENTRANCES = {"__init__", "__main__"}

TORCH_ROOMS = ("engine/torch/", "export/torch.py", "bench/torch.py")
JAX_ROOMS = ("bench/jax.py",)


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, anywhere in it, type hints' included."""
    found = []
    package = ("kilonet", *path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_run_one_way(path):
    room = room_of(path)
    if room in ENTRANCES:
        return
    assert room in RANK, f"{room}: a new room; give it its place in ORDER"
    for line, name in imports(path):
        top, _, rest = name.partition(".")
        if top != "kilonet":
            continue
        other = rest.partition(".")[0]
        assert other in RANK, f"{path}:{line}: imports {name}, which is no room"
        earlier = RANK[other] < RANK[room]
        assert earlier or other == room, f"{path}:{line}: {room} may not import {other}"


@pytest.mark.parametrize(("framework", "rooms"), [("torch", TORCH_ROOMS), ("jax", JAX_ROOMS)])
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_frameworks_have_their_rooms(path, framework, rooms):
    found = [line for line, name in imports(path) if name.partition(".")[0] == framework]
    if not path.relative_to(SOURCE).as_posix().startswith(rooms):
        assert not found, f"{path}:{found[0]}: {framework} is imported in {rooms} alone"


def test_the_walk_sees_every_form_of_import(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    file = tmp_path / "spec" / "net.py"
    file.parent.mkdir()
    file.write_text(
        "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\nfrom .. import h\n"
        "from ..i import j\ndef k():\n    import l\n"
    )
    assert imports(file) == [
        (1, "a.b"),
        (2, "c.d"),
        (3, "kilonet.spec.e"),
        (4, "kilonet.spec.f.g"),
        (5, "kilonet.h"),
        (6, "kilonet.i.j"),
        (8, "l"),
    ]


LIGHT = [name for name in ("__init__", "entry") if list(SOURCE.glob(f"{name}*"))]


@pytest.mark.parametrize("name", LIGHT)
def test_an_import_stays_light(name):
    module = "kilonet" if name == "__init__" else f"kilonet.{name}"
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {module.partition(".")[0] for module in done.stdout.split()}
    assert "kilonet" in loaded
    assert not loaded & {"torch", "torchvision", "jax", "matplotlib", "pandas", "joblib"}
    if name == "__init__":
        assert not loaded & {"rich", "typer", "jinja2", "scipy", "numpy"}


def test_every_public_name_and_every_room_is_there_once_asked_for():
    for name in kilonet.__all__:
        assert getattr(kilonet, name) is not None
        assert name in dir(kilonet)
    assert kilonet.schedule.Schedule.__module__ == "kilonet.schedule"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = kilonet.trian
