"""Which way imports run, what modules are called, and what an import of kilonet may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import kilonet

SOURCE = Path(kilonet.__file__).parent

# A room may import from the rooms of earlier lines, never from another room of its own line. Not
# every room is built yet.
ORDER = [
    ["errors"],
    ["formatting", "paths", "randomness"],
    ["table"],
    ["spec"],
    ["summary", "storage"],
    ["data"],
    ["engine"],
    ["training"],
    ["study"],
    ["analysis", "bench", "search"],
    ["report", "export"],
    ["cli"],
    ["entry"],
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
ENTRANCES = {"__init__", "__main__"}
MAX_ROOT_MODULES = 9

# Results that users hold know what is made of them. These files import a later room, each in the
# functions that need it.
UPWARD = {
    ("storage/record.py", "training"),
    ("study/result.py", "report"),
    ("search/result.py", "report"),
    ("storage/record.py", "report"),
}

# Frameworks, and the only places that may import them.
FRAMEWORKS = {
    "torch": ("engine/torch/", "export/torch.py", "bench/torch.py"),
    "jax": ("bench/jax.py",),
}
# A report's folders are named after their format, two of which are also modules of Python's.
FORMATS = {"report/html/__init__.py", "report/json/__init__.py"}


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of all that a file imports, in functions and for type hints too."""
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


def module_file(name: str) -> Path | None:
    """The file that a dotted name of kilonet's comes from."""
    parts = name.split(".")[1:]
    for length in range(len(parts), 0, -1):
        place = SOURCE.joinpath(*parts[:length])
        if place.with_suffix(".py").is_file():
            return place.with_suffix(".py")
        if (place / "__init__.py").is_file():
            return place / "__init__.py"
    return None


def test_imports_run_one_way():
    for path in files():
        room = room_of(path)
        if room in ENTRANCES:
            continue
        assert room in RANK, f"{room}: a new room; give it its place in ORDER"
        for line, name in imports(path):
            top, _, rest = name.partition(".")
            if top != "kilonet":
                continue
            other = rest.partition(".")[0]
            assert other in RANK, f"{path}:{line}: imports {name}, which is no room"
            earlier = RANK[other] < RANK[room] or (name_of(path), other) in UPWARD
            assert earlier or other == room, f"{path}:{line}: {room} may not import {other}"


def test_no_room_has_a_circle():
    """Between its own modules, those that only export names among them."""
    graph: dict[str, set[str]] = {}
    for path in files():
        targets = (module_file(name) for _, name in imports(path) if name.startswith("kilonet."))
        graph[name_of(path)] = {
            name_of(target)
            for target in targets
            if target is not None and target != path and room_of(target) == room_of(path)
        }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' → '.join(error.args[1])}")


def test_frameworks_have_their_rooms():
    for path in files():
        for line, name in imports(path):
            places = FRAMEWORKS.get(name.partition(".")[0])
            assert places is None or name_of(path).startswith(places), (
                f"{path}:{line}: {name} is imported in {places} alone"
            )


def test_no_module_is_named_as_one_of_pythons():
    for path in files():
        name = path.parent.name if path.name == "__init__.py" else path.stem
        if name_of(path) not in FORMATS:
            assert name not in sys.stdlib_module_names, f"{path}: the name of a standard module"


def test_the_root_holds_few_modules():
    assert len(list(SOURCE.glob("*.py"))) <= MAX_ROOT_MODULES


@pytest.fixture
def made_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "spec").mkdir()
    return tmp_path / "spec"


def test_the_walk_sees_every_form_of_import(made_room: Path):
    file = made_room / "net.py"
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


def test_the_walk_sees_a_circle(made_room: Path):
    (made_room / "one.py").write_text("from kilonet.spec.two import x\n")
    (made_room / "two.py").write_text("def f():\n    from kilonet.spec import one\n")
    with pytest.raises(pytest.fail.Exception, match=r"spec/one\.py"):
        test_no_room_has_a_circle()


def test_an_import_stays_light():
    for module in ("kilonet", "kilonet.entry"):
        code = f"import sys, {module}; print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        loaded = {name.partition(".")[0] for name in done.stdout.split()}
        assert "kilonet" in loaded
        assert not loaded & {"torch", "torchvision", "jax", "matplotlib", "pandas", "joblib"}
        if module == "kilonet":
            assert not loaded & {"rich", "typer", "jinja2", "scipy", "numpy"}


def test_every_public_name_and_every_room_is_there_once_asked_for():
    for name in kilonet.__all__:
        assert getattr(kilonet, name) is not None
        assert name in dir(kilonet)
    assert kilonet.training.loop.train is kilonet.train
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = kilonet.trian
