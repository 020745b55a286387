"""Ask how long the command takes to say what it is, beside an interpreter that does nothing."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.bench import Goal, Outcome, Row, Scenario, Table
from benchmarks.contenders import Contender, rfbulk, rival
from benchmarks.process import Command, run_command

if TYPE_CHECKING:
    from benchmarks.bench import Bench

HELP_SECONDS = (0.2, 0.12)  # at first, and then
HELP = "rfbulk --help"


def run(bench: Bench) -> Outcome:
    """Start each command in turns."""
    commands, skipped = _commands(bench)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(2 if bench.smoke else 20):
        for name, command in commands.items():
            times[name].append(run_command(command).wall_seconds)
    rows = tuple(
        (name, _milliseconds(statistics.median(all_of)), _milliseconds(min(all_of))) for name, all_of in times.items()
    )
    return Outcome(
        rows=tuple(Row(name, statistics.median(all_of)) for name, all_of in times.items()),
        tables=(Table("start-up", ("", "median ms", "least ms"), rows),),
        results=tuple({"command": name, "wall_seconds": all_of} for name, all_of in times.items()),
        goals=(Goal(f"seconds of `{HELP}`", statistics.median(times[HELP]), *HELP_SECONDS),) if HELP in times else (),
        skipped=tuple(skipped),
    )


def _commands(bench: Bench) -> tuple[dict[str, Command], list[str]]:
    python = str(bench.python)
    commands = {"python -c pass": Command((python, "-c", "pass"))}
    skipped = []
    product, other = rfbulk(bench), rival(bench)
    if isinstance(product, Contender):
        commands["rfbulk --version"] = Command((python, "-m", "rfbulk", "--version"))
        commands[HELP] = Command((python, "-m", "rfbulk", "--help"))
    else:
        skipped.append(product)
    if isinstance(other, Contender) and other.start_command:
        commands["inference --version"] = other.start_command
    elif isinstance(other, str):
        skipped.append(other)
    return commands, skipped


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


SCENARIOS = (Scenario("startup", "how soon the command answers at all", run),)
