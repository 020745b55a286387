"""A plot shows what its table has, and leaves out what there is none of."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from benchmarks.bench import Bench, Outcome, Row, Scenario
from benchmarks.plots import draw, plot_of


def nothing(_: Bench) -> Outcome:
    return Outcome()


SCENARIO = Scenario("upload-a", "which is <faster>", nothing)


def texts(drawing: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(drawing).iter() if each.tag.endswith("text")]  # noqa: S314 - ours


def test_each_contender_has_a_bar_for_each_measure() -> None:
    drawing = plot_of("which is <faster>", (Row("rfbulk", 2.0, 0.75, 83e6), Row("tar | curl", 4.0, 0.5, 10e6)))
    shown = texts(drawing)
    assert shown[:6] == ["which is <faster>", "wall time, s", "rfbulk", "2", "tar | curl", "4"]
    assert shown[-5:] == ["memory at most, MB", "rfbulk", "83", "tar | curl", "10"]
    assert drawing.count("<rect") == 6


def test_what_was_not_measured_has_no_bar() -> None:
    drawing = plot_of("start-up", (Row("rfbulk --help", 0.05),))
    assert texts(drawing) == ["start-up", "wall time, s", "rfbulk --help", "0.05"]


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert draw(tmp_path, SCENARIO, Outcome()) is None
    assert draw(tmp_path, SCENARIO, Outcome(rows=(Row("rfbulk", 1.0),))) == tmp_path / "upload-a.svg"
