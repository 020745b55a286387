"""The page that figures are taken from says all that was found, and says first what makes it doubtful."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks import history, run, table
from benchmarks.bench import Bench, Goal, Outcome, Row, Scenario, Table
from benchmarks.table import Page, figure, markdown, page_of

PAGE = Page("Benchmarks of a day", ("a machine", "versions"))


def nothing(_: Bench) -> Outcome:
    return Outcome()


UPLOAD = Scenario("upload-a", "normal images", nothing)
FAR = Scenario("upload-far", "over a line", nothing)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0.0543, "0.054"),
        (0.5, "0.50"),
        (7.246, "7.25"),
        (32.04, "32.0"),
        (542.4, "542"),
        (2379, "2,379"),
        (-3.0, "-3.00"),
    ],
)
def test_figures_have_the_digits_that_anybody_wants(value: float | None, shown: str) -> None:
    assert shown == figure(value)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (None, "not there"),
        ("1.8.3", "1.8.3"),
        ("a1b4734-dirty", "a1b4734-dirty"),
        ("Python 3.11.7", "3.11.7"),
        ("curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1", "7.88.1"),
        ("rclone v1.60.1-DEV", "v1.60.1-DEV"),
        ("aria2 version 1.36.0", "1.36.0"),
    ],
)
def test_versions_are_told_in_brief(said: str | None, shown: str) -> None:
    assert shown == history.brief(said)


def test_a_table_can_be_pasted() -> None:
    assert markdown(("", "wall s"), (("tar | curl", "2.2"), ("rfbulk", "12.0"))).splitlines() == [
        "|             | wall s |",
        "| :---------- | -----: |",
        "| tar \\| curl |    2.2 |",
        "| rfbulk      |   12.0 |",
    ]


@pytest.mark.parametrize(
    ("measured", "first", "then", "at_least", "reached"),
    [
        (3.9, 4.0, 7.0, True, "none"),
        (4.0, 4.0, 7.0, True, "first"),
        (7.0, 4.0, 7.0, True, "both"),
        (1.1, 1.0, None, False, "none"),
        (1.0, 1.0, None, False, "both"),
        (0.15, 0.2, 0.12, False, "first"),
        (2.0, None, 1.6, False, "none"),
        (1.5, None, 1.6, False, "both"),
    ],
)
def test_a_goal_is_reached_at_first_and_then(
    measured: float, first: float | None, then: float | None, at_least: bool, reached: str
) -> None:
    assert reached == Goal("of something", measured, first, then, at_least=at_least).reached


def test_every_contender_and_every_promise_has_a_row() -> None:
    found = [
        (
            UPLOAD,
            Outcome(
                subject="40 files, 0.01 GB",
                rows=(Row("rfbulk", 2.3, 0.75, 83e6, 3.2, 1.9), Row("limit", 1.2, 0.32, 3e6, 6.0, 1.0)),
                goals=(Goal("times as fast as the rival", 3.2, 4.0, 7.0, at_least=True),),
                tables=(Table("upload a", ("", "spread"), (("rfbulk", "2 to 3"),)),),
            ),
        ),
        (FAR, Outcome(rows=(Row("rfbulk, 50 ms", 20.0),), goals=(Goal("filled", 0.98, 0.9, 0.97, at_least=True),))),
    ]
    lines = [" ".join(line.split()) for line in page_of(PAGE, found).splitlines()]
    for line in (
        "| `upload-a`: 40 files, 0.01 GB | rfbulk | 2.30 | 0.75 | 83.0 | 3.20 | 1.90 |",
        "| | limit | 1.20 | 0.32 | 3.00 | 6.00 | 1.00 |",
        "| `upload-far` | rfbulk, 50 ms | 20.0 | | | | |",
        "| `upload-a` | times as fast as the rival | 3.20 | ≥ 4 | ≥ 7 | no |",
        "| `upload-far` | filled | 0.98 | ≥ 0.9 | ≥ 0.97 | yes |",
        "`upload-a`: upload a",
        "| rfbulk | 2 to 3 |",
    ):
        assert line in lines


def test_what_was_wrong_or_left_out_stands_above_the_figures() -> None:
    found = [(UPLOAD, Outcome(problems=("rfbulk: 3 images\narrived",), skipped=("rclone: it is not on the path",)))]
    above = page_of(PAGE, found).partition("## Contenders")[0]
    assert "**FAILED** in `upload-a`: rfbulk: 3 images arrived" in above
    assert "**left out** in `upload-a`: rclone: it is not on the path" in above


def test_whoever_failed_is_marked_where_its_figures_stand() -> None:
    rows = (Row("rfbulk, 50 ms", 1.0), Row("limit", 1.0))
    lines = page_of(PAGE, [(FAR, Outcome(rows=rows, problems=("rfbulk: 3 images arrived",)))]).splitlines()
    assert [line.split(" | ")[1].strip() for line in lines if "(FAILED)" in line] == ["rfbulk, 50 ms **(FAILED)**"]


def test_runs_that_began_on_a_busy_machine_are_counted() -> None:
    runs = [{"idle_before": share} for share in (0.99, 0.4, None)]
    found = [(UPLOAD, Outcome(results=({"runs": runs}, {"command": "rfbulk --help"})))]
    assert "- **noise**: 1 of 2 timed runs began on a busy machine" in page_of(PAGE, found).splitlines()
    assert "noise" not in page_of(PAGE, [(UPLOAD, Outcome(results=({"runs": runs[:1]},)))])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [([], "TABLE.md"), (["--scenario", "startup"], "TABLE-part.md"), (["--smoke"], "TABLE-smoke.md")],
)
def test_only_a_full_run_writes_the_page_that_figures_are_taken_from(arguments: list[str], name: str) -> None:
    options = _options(arguments)
    assert name == run.table_name(is_smoke=options.smoke, is_part=bool(options.scenario))


@pytest.mark.parametrize(
    ("arguments", "rounds", "keeps"),
    [([], 3, False), (["--keep"], 3, True), (["--smoke"], 0, True), (["--smoke", "--rounds", "1"], 1, True)],
)
def test_sets_are_kept_where_that_is_asked_for_or_costs_nothing(arguments: list[str], rounds: int, keeps: bool) -> None:
    bench = run.bench_of(_options(arguments))
    assert (rounds, keeps) == (bench.rounds, bench.keeps)


def test_every_scenario_is_run_unless_some_are_named() -> None:
    wanted = ["upload-a", "upload-b", "upload-c", "upload-single-a", "upload-single-b", "upload-tls", "upload-far"]
    others = ["startup", "export-small", "export-archives", "embedding", "million", "ten-million"]
    assert sorted(wanted + others) == sorted(run.SCENARIOS)


def test_a_page_is_written_where_no_folder_is_yet(tmp_path: Path) -> None:
    table.write(tmp_path / "results" / "TABLE.md", PAGE, [])
    assert (tmp_path / "results" / "TABLE.md").read_text().startswith("# Benchmarks of a day\n")


def _options(arguments: list[str]) -> argparse.Namespace:
    return run.parser().parse_args(arguments)
