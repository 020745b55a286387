"""Contenders meet the same machine in turns, and the slow ones do not hold up the others."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.process import Command, Cost
from benchmarks.rounds import SLOW_SECONDS, Run, play


@dataclass(frozen=True)
class Runner:
    name: str
    seconds: float = 1.0
    start_command: Command | None = None


def played(*runners: Runner, rounds: int) -> tuple[list[tuple[str, bool]], list[int]]:
    turns: list[tuple[str, bool]] = []

    def attempt(runner: Runner, checks: bool) -> Run[None]:
        turns.append((runner.name, checks))
        return Run(Cost(0.0, runner.seconds, 0.0, 0, None, ""), None, 0.0, None, ())

    series = play(runners, attempt, rounds=rounds)
    assert [runner.name for runner in runners] == [each.name for each in series]
    return turns, [len(each.timed) for each in series]


def test_each_round_begins_with_another_contender() -> None:
    turns, timed = played(Runner("a"), Runner("b"), rounds=2)
    assert turns == [("a", True), ("b", True), ("a", False), ("b", False), ("b", False), ("a", False)]
    assert timed == [2, 2]


def test_who_is_slow_is_timed_once() -> None:
    turns, timed = played(Runner("a"), Runner("slow", SLOW_SECONDS), rounds=3)
    assert timed == [3, 1]
    assert turns[3] == ("slow", False)


def test_with_no_rounds_the_checked_run_stands_in() -> None:
    turns, timed = played(Runner("a"), Runner("slow", SLOW_SECONDS), rounds=0)
    assert turns == [("a", True), ("slow", True)]
    assert timed == [1, 1]
