"""Sources of a run in specs: notation, paths, identity."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.errors import KilonetError
from kilonet.spec import InvalidSpecError, Run, load_run, load_study, to_toml
from kilonet.spec.lineage import Init, Source, Teacher, sources, with_sources

DIGEST = "0123456789abcdef" * 4
RUN = load_run("interim")


def taught(*settings: str) -> Run:
    return load_run("interim", settings=settings)


def test_a_folder_alone_a_list_and_a_table_are_the_same(tmp_path: Path) -> None:
    folder = str(tmp_path / "a")
    written = [
        folder,
        [folder],
        {"runs": folder},
        {"runs": [folder]},
        {"runs": [{"folder": folder}]},
    ]
    runs = [RUN.replace({"train.teacher": value}) for value in written]
    assert all(run == runs[0] for run in runs)
    assert len({run.content_hash for run in runs}) == 1
    teacher = runs[0].train.teacher
    assert teacher == Teacher(runs=folder) == Teacher(runs=(Source(folder=folder),))
    assert (teacher.weight, teacher.temperature) == (0.9, 4.0)
    assert RUN.replace({"train.init": folder}).train.init == Init(folder=folder, strict=True)
    assert runs[0].replace({"train.teacher": "none"}) == RUN


def test_the_order_of_changes_does_not_matter() -> None:
    values = ["train.teacher=/a", "train.teacher.weight=0.5", "train.teacher.temperature=2"]
    assert taught(*values) == taught(*values[::-1])
    assert taught(*values).train.teacher.weight == 0.5
    assert taught("train.init=/a", "train.init.strict=false").train.init.strict is False


def test_sources_in_order() -> None:
    run = taught("train.teacher=['/a', '/b']", "train.init=/c")
    assert [(kind, source.folder) for kind, source in sources(run.train)] == [
        ("train.init", "/c"),
        ("train.teacher", "/a"),
        ("train.teacher", "/b"),
    ]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("train.teacher=3", "train.teacher: 3 should be a table"),
        ("train.teacher.weight=0.5", "train.teacher.runs: is missing"),
        ("train.teacher=[]", "should have at least 1 value"),
        ("train.teacher=''", "should have at least 1 character"),
        ("train.teacher=~nobody-here/x", "train.teacher: ~nobody-here/x: the home folder"),
        ("train.init={folder='a', strickt=true}", "unknown key; did you mean 'strict'"),
        ("train.init={folder='a', sha256='12'}", "train.init.sha256"),
        ("train.teacher={runs='a', weight=0}", "should be greater than 0"),
        ("train.teacher={runs='a', weight=1.5}", "should be less than or equal to 1"),
        ("train.teacher={runs='a', temperature=0}", "should be greater than 0"),
    ],
)
def test_invalid(setting: str, problem: str) -> None:
    with pytest.raises(KilonetError) as caught:
        taught(setting)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_starts_at_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a stage too, whatever the spelling; an option's path starts at the current folder."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = to_toml(RUN).partition("[train]")[0] + (
        "[train]\nteacher = { runs = ['../a', '/b'] }\ninit = 'c'\n"
        "[[stage]]\nname = 'One'\nchange = { 'train.teacher' = '../d' }\n"
        "[[stage]]\nname = 'Two'\n"
        "change = { 'train.teacher.runs.0' = './e', 'train.init' = 'none' }\n"
        "[[stage]]\nname = 'Three'\nchange = { 'train.teacher.runs.0.folder' = 'f' }\n"
        "[[stage]]\nname = 'Four'\nchange = { 'train.teacher.runs' = ['g'], "
        "'train.init.folder' = '../h' }\n"
    )
    file = tmp_path / "specs" / "study.toml"
    file.write_text(f"name = 's'\ntarget = 99\n{text}")
    study = load_study(str(file))

    def folders(run: Run) -> list[str]:
        return [str(Path(s.folder).relative_to(tmp_path)) for _, s in sources(run.train)]

    base = [source.folder for _, source in sources(study.run.train)]
    assert base == [str(tmp_path / "specs" / "c"), str(tmp_path / "a"), "/b"]
    assert [folders(stage.run) for stage in study.stages] == [
        ["specs/c", "d"],
        ["specs/e"],
        ["specs/f"],
        ["h", "specs/g"],
    ]
    # Written into another folder, the paths lead to the same places.
    other = tmp_path / "elsewhere" / "study.toml"
    other.write_text(to_toml(study, folder=other.parent))
    assert str(tmp_path) not in other.read_text().replace(str(study.data.name), "")
    assert load_study(str(other)) == study
    option = load_run("interim", settings=["train.teacher=../x"])
    assert option.train.teacher.runs[0].folder == str(tmp_path / "x")


digests = st.sampled_from(["", "a" * 64, "b" * 64])
some = st.builds(Source, folder=st.sampled_from(["/x", "/y"]), sha256=digests)


@given(some, some)
def test_identity(a: Source, b: Source) -> None:
    """By digest where both state one, else by folder; equal ones have equal hashes."""
    if a.sha256 and b.sha256:
        assert (a == b) == (a.sha256 == b.sha256) == (a.content_hash == b.content_hash)
    else:
        assert (a == b) == (a.folder == b.folder)
    if a == b:
        assert hash(a) == hash(b)


def test_a_strict_and_a_loose_start_differ() -> None:
    strict, loose = (Init(folder="/a", sha256=DIGEST, strict=value) for value in (True, False))
    assert strict != loose
    assert strict.content_hash != loose.content_hash
    assert strict != Source(folder="/a", sha256=DIGEST)


def test_a_new_folder_drops_the_digest() -> None:
    run = RUN.replace({"train.init": {"folder": "/a", "sha256": DIGEST}})
    assert run.replace({"train.init.folder": "/b"}).train.init.sha256 == ""
    assert run.replace({"train.init.strict": False}).train.init.sha256 == DIGEST


@pytest.mark.parametrize("value", [3, {"weight": 1}, {"runs": 3}, [3], [{"sha256": ""}], ""])
def test_what_is_no_source_is_kept(value: Any) -> None:
    """Its error is the spec's."""

    def refuse(kind: str, source: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError(kind, source)

    for key in ("teacher", "init"):
        with_sources({"train": {key: value}}, refuse)
        with pytest.raises(InvalidSpecError):
            RUN.replace({f"train.{key}": value})
    kept = {"train": 3, "stage": [{"change": 3}, 4], "net": {}}
    assert with_sources(kept, refuse) == kept


def test_a_run_in_its_own_toml() -> None:
    run = taught("train.teacher=/a", "train.init=/b")
    data = tomllib.loads(to_toml(run))
    assert data["train"]["teacher"]["runs"] == [{"folder": "/a", "sha256": ""}]
    assert Run.from_dict(data) == run
