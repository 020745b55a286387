"""Run the benchmarks: every scenario, or those named, and print what was found.

    python benchmarks/run.py [--scenario NAME]... [--rounds N] [--scale X] [--smoke] [--json FILE]

A full run wants a quiet machine, some 35 GB of disk for its files (in `benchmarks/build/data`, kept for the next run)
and 24 GB of memory, so that the page cache holds each set. `--smoke` runs everything small, to see that it works:
its figures mean nothing. Each scenario adds a line to `benchmarks/results/history.jsonl`, and draws a plot beside it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__" and not __package__:  # started as a file: let its siblings be found by their full names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import distance, embedding, export, history, million, plots, startup, tls, upload
from benchmarks.bench import HOME, Bench, Outcome, Scenario, Table
from benchmarks.contenders import RIVAL_VENV
from benchmarks.process import idle_share

SCENARIOS = {
    each.name: each
    for module in (startup, upload, tls, distance, export, million, embedding)
    for each in module.SCENARIOS
}
QUIET = 0.9  # of the processors' time unused


def main() -> int:
    """Run what was asked for. 1 if a contender failed or did not deliver."""
    options = _parser().parse_args()
    bench = Bench(
        rounds=options.rounds if options.rounds is not None else (0 if options.smoke else 5),
        scale=options.scale,
        smoke=options.smoke,
        data=options.data.resolve(),
        build=HOME / "build",
        python=options.python.absolute(),
        inference=options.inference.absolute(),
    )
    _warn_of_noise()
    problems: list[str] = []
    for name in options.scenario or SCENARIOS:
        problems += _run(SCENARIOS[name], bench, options.json)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = "\n".join(f"  {each.name}: {each.question}" for each in SCENARIOS.values())
    parser.epilog = f"scenarios:\n{names}"
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, metavar="NAME", help="only this; may be repeated"
    )
    parser.add_argument("--rounds", type=int, help="timed rounds (5; 0 with --smoke: checked only)")
    parser.add_argument("--scale", type=float, help="size of the data sets (each its own: a 6, b 4, c 4, others 1)")
    parser.add_argument("--smoke", action="store_true", help="everything small, within a minute or so")
    parser.add_argument("--json", type=Path, metavar="FILE", default=HOME / "results" / "history.jsonl")
    parser.add_argument("--data", type=Path, metavar="DIR", default=HOME / "build" / "data", help="where data sets are")
    parser.add_argument("--python", type=Path, metavar="FILE", default=Path(sys.executable), help="runs rfbulk")
    parser.add_argument("--inference", type=Path, metavar="FILE", default=RIVAL_VENV / "bin" / "inference")
    return parser


def _warn_of_noise() -> None:
    idle = idle_share(1.0)
    if idle is not None and idle < QUIET:
        print(f"WARNING: the machine is busy ({1 - idle:.0%} of it): figures will be off", flush=True)


def _run(scenario: Scenario, bench: Bench, file: Path) -> tuple[str, ...]:
    print(f"\n{scenario.name}: {scenario.question}", flush=True)
    outcome = scenario.run(bench)
    _print_outcome(replace(outcome, goals=()) if bench.smoke else outcome)
    history.append(file, bench, scenario, outcome)
    if plot := plots.draw(file.parent, scenario, outcome):
        print(f"  plot: {plot}", flush=True)
    return outcome.problems


def _print_outcome(outcome: Outcome) -> None:
    for table in outcome.tables:
        _print_table(table)
    for goal in outcome.goals:
        sign = "≥" if goal.at_least else "≤"
        print(f"  {'reached' if goal.holds else 'MISSED '}  {goal.name}: {goal.measured:.3g} ({sign} {goal.bound:.3g})")
    for reason in outcome.skipped:
        print(f"  SKIPPED {reason}")
    for problem in outcome.problems:
        print(f"  FAILED  {problem}")
    sys.stdout.flush()


def _print_table(table: Table) -> None:
    """Print it as Markdown, so that it can be pasted."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{table.title}\n")
    for row in (rows[0], (":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])), *rows[1:]):
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print(f"| {' | '.join(cells)} |")
    print()


if __name__ == "__main__":
    sys.exit(main())
