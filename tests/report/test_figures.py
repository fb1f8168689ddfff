"""Pictures: what their axes hold, that nothing is cut off unsaid, and that bytes repeat."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kilonet.analysis import analyse
from kilonet.report import figures
from kilonet.spec import load_study
from kilonet.study import StudyResult
from ladders import (
    BATCH_NORMALISATION,
    TEST_IMAGES,
    made_result,
    made_rows,
    notebook_result,
    seeded_result,
    typed_rows,
)

STUDY = load_study("mnist-8k")


def drawn(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        # No date and no version inside: nothing but the resolution.
        assert set(image.info) <= {"dpi"}
        return image


@pytest.mark.parametrize("result", [notebook_result(), seeded_result(seeds=2)], ids=["one", "two"])
def test_pictures(tmp_path: Path, result: StudyResult) -> None:
    analysis = analyse(result, test_images=TEST_IMAGES)
    for name in ("a", "b"):
        figures.ladder(result, analysis, tmp_path / f"{name}-ladder.png")
        last = result.rungs[-1]
        figures.learning_curves(last, target=99.4, path=tmp_path / f"{name}-curves.png")
    for picture in ("ladder", "curves"):
        image = drawn(tmp_path / f"a-{picture}.png")
        assert image.width >= 900
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 50
        again = tmp_path / f"b-{picture}.png"
        assert (tmp_path / f"a-{picture}.png").read_bytes() == again.read_bytes()


def test_odd_records_are_drawn_too(tmp_path: Path) -> None:
    histories = {
        "one-epoch": made_rows([10.0], train=9.0),
        "perfect": made_rows([100.0] * 4, train=100.0),
        "equal": made_rows([99.4] * 3, train=99.4),
    }
    for name, rows in histories.items():
        result = made_result(STUDY, [[rows, rows]])
        analysis = analyse(result, test_images=TEST_IMAGES)
        figures.ladder(result, analysis, tmp_path / f"{name}-ladder.png")
        figures.learning_curves(result.rungs[0], target=99.4, path=tmp_path / f"{name}.png")
        drawn(tmp_path / f"{name}.png")


def test_the_accuracy_axis_says_what_it_leaves_out() -> None:
    rows = typed_rows(BATCH_NORMALISATION)
    low, high, left_out = figures.accuracy_limits([rows], target=99.4)
    # From epoch 3 the least is 98.73 %, the most 99.51 %; epoch 2 has 98.51 and 98.46 %.
    assert 98.51 < low < 98.73
    assert high > 99.51
    assert left_out == "Epochs 0 to 2 lie in part below the axis, down to 90.57%"


def test_the_accuracy_axis_holds_short_runs_whole() -> None:
    low, high, left_out = figures.accuracy_limits(
        [made_rows([50.0, 90.0], train=40.0)], target=99.4
    )
    assert low < 40.0
    assert high > 99.4
    assert left_out == ""


def test_one_epoch_left_out() -> None:
    rows = made_rows([90.0, *[99.0] * 9], train=99.0)
    assert figures.accuracy_limits([rows], target=99.4)[2] == (
        "Epoch 0 lies in part below the axis, down to 90.00%"
    )


def test_the_ladders_axis_holds_every_mark_but_not_every_interval() -> None:
    result = made_result(STUDY, [[made_rows([99.0] * 5), made_rows([99.4] * 5)]])
    analysis = analyse(result, test_images=TEST_IMAGES)
    low, high = figures.ladder_limits(analysis, error=0.1)
    assert low < 99.0
    assert high > 99.5
    # The interval of two seeds 0.4 apart is 99.2 ± 2.54, up to 100: the axis stays near the marks.
    assert analysis.rungs[0].final.ci95 == pytest.approx((99.2 - 2.5412, 100.0), abs=1e-3)
    assert high - low < 1.5


def test_equal_seeds_are_captioned_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    captions: list[str] = []
    drawn_ticks = Axes.set_xticks

    def set_xticks(axes: Axes, ticks: Any, labels: Any = None, **rest: Any) -> Any:
        captions.extend(labels or ())
        return drawn_ticks(axes, ticks, labels, **rest)

    monkeypatch.setattr(Axes, "set_xticks", set_xticks)
    equal, other = made_rows([99.4] * 3), made_rows([99.2] * 3)
    for runs in ([equal, equal], [equal, other], [equal]):
        result = made_result(STUDY, [runs])
        analysis = analyse(result, test_images=TEST_IMAGES)
        figures.ladder(result, analysis, tmp_path / "ladder.png")
    assert [caption.endswith("99.40%\n(equal in every seed)") for caption in captions] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("rungs", [1, 2, 3, 4])
@pytest.mark.parametrize("seeds", [1, 2])
def test_the_ladders_legend_is_not_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rungs: int, seeds: int
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn_figures: list[Figure] = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: drawn_figures.append(figure))
    result = made_result(STUDY, [[made_rows([99.0] * 10)] * seeds] * rungs)
    figures.ladder(result, analyse(result, test_images=TEST_IMAGES), tmp_path / "ladder.png")
    [figure] = drawn_figures
    FigureCanvasAgg(figure).draw()
    extent = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= extent.x0
    assert extent.x1 <= figure.bbox.x1


def test_users_plots_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An import of pyplot would fail.
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    result = notebook_result()
    figures.learning_curves(result.rungs[0], target=99.4, path=tmp_path / "curves.png")
    figures.ladder(
        result, analyse(result, test_images=TEST_IMAGES), tmp_path / "figures" / "ladder.png"
    )
    assert (tmp_path / "figures" / "ladder.png").is_file()
