"""Settings that differ: spec and provenance, and lists by their elements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kilonet.report.settings import differing, settings_of, shown
from kilonet.storage.provenance import EngineInfo, Provenance
from kilonet.study import StageResult
from ladders import FOUR_STAGES, made_record, made_rows

LAYERS = ["conv 8", "conv 16", "maxpool 2", "pointwise 8", "gap", "pointwise 10 bare"]


def lines(*lists: list[str]) -> list[tuple[str, list[str | None]]]:
    return shown("net.layers", list(lists))


def test_a_changed_layer_alone_is_shown() -> None:
    other = [*LAYERS[:3], "pointwise 12", *LAYERS[4:]]
    assert lines(LAYERS, other) == [("net.layers.3", ['"pointwise 8"', '"pointwise 12"'])]


def test_layers_added_and_removed_are_aligned() -> None:
    added = ["conv 4", "conv 5", *LAYERS]
    removed = [*LAYERS[:1], *LAYERS[2:]]
    assert lines(LAYERS, added, removed) == [
        ("net.layers.0 (added)", [None, '"conv 4", "conv 5"', None]),
        ("net.layers.1", ['"conv 16"', '"conv 16"', None]),
    ]
    at_the_end = [*LAYERS, "relu"]
    assert lines(LAYERS, at_the_end) == [("net.layers.6 (added)", [None, '"relu"'])]
    # Two for one: the first of them is the change, the second an addition.
    two = [*LAYERS[:3], "conv 9", "conv 10", *LAYERS[4:]]
    assert lines(LAYERS, two) == [
        ("net.layers.3", ['"pointwise 8"', '"conv 9"']),
        ("net.layers.4 (added)", [None, '"conv 10"']),
    ]


def test_short_lists_and_single_values_are_whole() -> None:
    blocks = [["conv", "relu"], ["conv", "relu", "batchnorm"]]
    texts = ['["conv", "relu"]', '["conv", "relu", "batchnorm"]']
    assert shown("net.block", blocks) == [("net.block", texts)]
    assert shown("train.epochs", [3, None]) == [("train.epochs", ["3", None])]
    assert shown("data.sha256", ["ab" * 32, "cd" * 32])[0][1] == ["ab" * 6, "cd" * 6]


def stage_of(*engines: EngineInfo) -> StageResult:
    stage = FOUR_STAGES.stages[0]
    records = [
        made_record(stage, made_rows([99.0]), seed=seed) for seed in range(1, len(engines) + 1)
    ]
    return StageResult.of(
        stage,
        [
            replace(record, provenance=replace(record.provenance, engine=engine))
            for record, engine in zip(records, engines, strict=True)
        ],
    )


AVX2 = EngineInfo(name="native", version="1", device="cpu", instruction_set="avx2")


@pytest.mark.parametrize(
    ("change", "path", "values"),
    [
        ({"instruction_set": "baseline"}, "engine.instruction_set", ["avx2", "baseline"]),
        ({"name": "torch"}, "engine.name", ["native", "torch"]),
        ({"version": "2"}, "engine.version", ["1", "2"]),
        ({"device": "cuda:0"}, "engine.device", ["cpu", "cuda:0"]),
        ({"threads": 2}, "engine.threads", [None, 2]),
    ],
)
def test_what_the_bits_depend_on_is_a_setting(
    change: dict[str, object], path: str, values: list[object]
) -> None:
    other = replace(AVX2, **change)  # type: ignore[arg-type]
    found = differing([settings_of(stage_of(AVX2)), settings_of(stage_of(other))])
    assert found == {path: values}


def test_a_description_and_the_seed_are_no_settings() -> None:
    other = replace(AVX2, description="native 1 on cpu, 64 threads")
    assert differing([settings_of(stage_of(AVX2)), settings_of(stage_of(other, other))]) == {}


def test_other_data_of_the_same_name_differ() -> None:
    stages = [stage_of(AVX2), stage_of(AVX2)]
    [record] = stages[1].records
    data = replace(record.provenance.data, sha256="00" * 32)
    other = replace(record, provenance=replace(record.provenance, data=data))
    found = differing([settings_of(stages[0]), settings_of(replace(stages[1], records=(other,)))])
    assert found == {"data.sha256": ["ab" * 32, "00" * 32]}


def test_a_run_resumed_with_another_engine_has_both() -> None:
    stage = stage_of(AVX2)
    [record] = stage.records
    part = Provenance(engine=replace(AVX2, instruction_set="baseline"), after_epoch=3)
    resumed = replace(record, provenance=replace(record.provenance, resumed=(part,)))
    found = differing([settings_of(stage), settings_of(replace(stage, records=(resumed,)))])
    assert found == {"engine.instruction_set": ["avx2", ["avx2", "baseline"]]}


def test_seeds_with_several_engines_have_a_list() -> None:
    baseline = replace(AVX2, instruction_set="baseline")
    found = settings_of(stage_of(AVX2, baseline))
    assert found["engine.instruction_set"] == ["avx2", "baseline"]
    path, values = "engine.instruction_set", [found["engine.instruction_set"], "avx2"]
    assert shown(path, values) == [(path, ["avx2, baseline", "avx2"])]
