"""A scenario that cannot be run is said to be so, and does not take the others with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.bench import Bench, Goal, NoRoom, Outcome, Row, Scenario
from benchmarks.servers import CannotCompile

GOAL = Goal("seconds", 1.0, 2.0, 1.5)


def fails(error: Exception) -> Scenario:
    def raises(_: Bench) -> Outcome:
        raise error

    return Scenario("of-a-test", "does it run", raises)


def found(outcome: Outcome) -> Scenario:
    return Scenario("of-a-test", "does it run", lambda _: outcome)


@pytest.fixture
def measured(bench: Bench) -> Bench:
    return Bench(
        3, None, smoke=False, data=bench.data, build=bench.build, python=bench.python, inference=bench.inference
    )


@pytest.mark.parametrize("reason", [NoRoom("it needs 12 GB"), CannotCompile("sink.c does not compile")])
def test_what_this_machine_cannot_do_is_left_out(measured: Bench, tmp_path: Path, reason: Exception) -> None:
    assert Outcome(skipped=(str(reason),)) == run.run(fails(reason), measured, tmp_path / "history.jsonl")


def test_a_scenario_that_breaks_makes_the_run_fail_and_go_on(measured: Bench, tmp_path: Path) -> None:
    outcome = run.run(fails(ZeroDivisionError("of nothing")), measured, tmp_path / "history.jsonl")
    assert outcome.problems == ("the scenario itself: ZeroDivisionError('of nothing')",)


def test_of_wrong_results_nothing_is_promised(measured: Bench, tmp_path: Path) -> None:
    wrong = Outcome(goals=(GOAL,), problems=("rfbulk: 3 images arrived",))
    assert run.run(found(wrong), measured, tmp_path / "history.jsonl").goals == ()


def test_a_small_run_promises_nothing(bench: Bench, tmp_path: Path) -> None:
    assert run.run(found(Outcome(goals=(GOAL,))), bench, tmp_path / "history.jsonl").goals == ()


def test_what_was_found_is_printed_drawn_and_kept(
    measured: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "results" / "history.jsonl"
    wanted = Outcome(goals=(GOAL,), rows=(Row("rfbulk", 2.0),), skipped=("rclone: it is not on the path",))
    assert wanted == run.run(found(wanted), measured, history)
    shown = capsys.readouterr().out
    assert "reached  seconds: 1.00 (first ≤ 2, then ≤ 1.5)" in shown
    assert "SKIPPED rclone: it is not on the path" in shown
    assert (tmp_path / "results" / "of-a-test.svg").exists()
    (line,) = history.read_text().splitlines()
    assert (json.loads(line)["goals"]) == [
        {"name": "seconds", "measured": 1.0, "first": 2.0, "then": 1.5, "at_least": False, "reached": "both"}
    ]
