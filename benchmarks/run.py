"""Run the benchmarks: every scenario, or those named, and print what was found.

    python benchmarks/run.py [--scenario NAME]... [--rounds N] [--scale X] [--keep] [--smoke] [--json FILE]

A full run takes some 40 minutes and wants a quiet machine, 30 GB of free disk and 24 GB of memory, so that the page
cache holds each set. Sets are made anew, one at a time, and removed (`--keep`: they stay in `benchmarks/build/data`,
and are used as they are found). `--smoke` runs everything small, to see that it works: its figures mean nothing.

Each scenario adds a line to `benchmarks/results/history.jsonl` and draws a plot beside it; `TABLE.md` there has all
that a full run has found (`TABLE-part.md` what some scenarios have, `TABLE-smoke.md` what a small run has).
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

if __name__ == "__main__" and not __package__:  # started as a file: let its siblings be found by their full names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import distance, embedding, export, history, plots, single, startup, table, tls, upload
from benchmarks.bench import HOME, QUIET, Bench, Goal, NoRoom, Outcome, Scenario, Table
from benchmarks.contenders import RIVAL_VENV
from benchmarks.datasets import remove_made
from benchmarks.million import MILLION, TEN_MILLION
from benchmarks.process import idle_share
from benchmarks.servers import CannotCompile

ORDER = (
    *startup.SCENARIOS,
    *upload.SCENARIOS[:1],
    *tls.SCENARIOS,  # of the same set, and so the next
    *embedding.SCENARIOS,
    *upload.SCENARIOS[1:],
    *single.SCENARIOS,
    *distance.SCENARIOS,
    *export.SCENARIOS,
    MILLION,
    TEN_MILLION,
)
SCENARIOS = {each.name: each for each in ORDER}
ROUNDS = 3
INTERRUPTED = 130


def main() -> int:
    """Run what was asked for. 1 if a contender failed or did not deliver, 130 if somebody had enough of it."""
    options = parser().parse_args()
    bench = bench_of(options)
    page = _page(bench, options)
    _warn_of_noise()
    found: list[table.Found] = []
    file = options.json.parent / table_name(is_smoke=bench.smoke, is_part=bool(options.scenario))
    started = time.monotonic()
    try:
        for name in options.scenario or SCENARIOS:
            found.append((SCENARIOS[name], run(SCENARIOS[name], bench, options.json)))
            table.write(file, page, found)
    except KeyboardInterrupt:
        print("\ninterrupted", flush=True)
        return INTERRUPTED
    finally:
        remove_made(bench)
    print(f"\n{(time.monotonic() - started) / 60:.1f} minutes; all of it: {file}")
    return 1 if any(outcome.problems for _, outcome in found) else 0


def bench_of(options: argparse.Namespace) -> Bench:
    """Return what the options ask for."""
    return Bench(
        rounds=options.rounds if options.rounds is not None else (0 if options.smoke else ROUNDS),
        scale=options.scale,
        smoke=options.smoke,
        data=options.data.resolve(),
        build=HOME / "build",
        python=options.python.absolute(),
        inference=options.inference.absolute(),
        keeps=options.keep or options.smoke,
    )


def table_name(*, is_smoke: bool, is_part: bool) -> str:
    """Return the name of the page: only a full run writes the one that figures are taken from."""
    return "TABLE-smoke.md" if is_smoke else "TABLE-part.md" if is_part else "TABLE.md"


def parser() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = "\n".join(f"  {each.name}: {each.question}" for each in SCENARIOS.values())
    made.epilog = f"scenarios:\n{names}"
    made.add_argument(
        "--scenario", action="append", choices=SCENARIOS, metavar="NAME", help="only this; may be repeated"
    )
    made.add_argument("--rounds", type=int, help=f"timed rounds ({ROUNDS}; 0 with --smoke: checked only)")
    made.add_argument("--scale", type=float, help="size of the data sets (each its own: a 5, b 3, c 3, …)")
    made.add_argument("--keep", action="store_true", help="leave data sets where they are, and use those found there")
    made.add_argument("--smoke", action="store_true", help="everything small, within a minute or so; keeps its sets")
    made.add_argument("--json", type=Path, metavar="FILE", default=HOME / "results" / "history.jsonl")
    made.add_argument("--data", type=Path, metavar="DIR", default=HOME / "build" / "data", help="where data sets are")
    made.add_argument("--python", type=Path, metavar="FILE", default=Path(sys.executable), help="runs rfbulk")
    made.add_argument("--inference", type=Path, metavar="FILE", default=RIVAL_VENV / "bin" / "inference")
    return made


def _page(bench: Bench, options: argparse.Namespace) -> table.Page:
    machine, versions = history.machine(), history.versions(bench)
    when = datetime.now(UTC)
    cores, memory = machine["cores"], machine["memory_bytes"]
    settings = (
        f"{bench.rounds} rounds, scale {bench.scale or 'each its own'}{', SMALL: figures mean nothing' * bench.smoke}"
    )
    return table.Page(
        f"Benchmarks of {when:%Y-%m-%d %H:%M} UTC",
        (
            f"{machine['processor']}, {cores} cores, {int(str(memory)) / 2**30:.0f} GiB, {machine['system']}",
            ", ".join(f"{name} {history.brief(version)}" for name, version in versions.items()),
            settings + (f", {', '.join(options.scenario)} alone" if options.scenario else ""),
        ),
    )


def _warn_of_noise() -> None:
    idle = idle_share(1.0)
    if idle is not None and idle < QUIET:
        print(f"WARNING: the machine is busy ({1 - idle:.0%} of it): figures will be off", flush=True)


def run(scenario: Scenario, bench: Bench, file: Path) -> Outcome:
    """Run one scenario, print and draw what was found, and add it to the history."""
    print(f"\n{scenario.name}: {scenario.question}", flush=True)
    started = time.monotonic()
    outcome = _outcome(scenario, bench)
    _print_outcome(outcome)
    history.append(file, bench, scenario, outcome)
    if plot := plots.draw(file.parent, scenario, outcome):
        print(f"  plot: {plot}", flush=True)
    print(f"  {time.monotonic() - started:.0f} s", flush=True)
    return outcome


def _outcome(scenario: Scenario, bench: Bench) -> Outcome:
    """Run it. One that cannot be run is not the end of the others; of wrong results nothing is promised."""
    try:
        outcome = scenario.run(bench)
    except (NoRoom, CannotCompile) as reason:
        return Outcome(skipped=(str(reason),))
    except Exception as error:  # noqa: BLE001 - the others have half an hour of figures, or wait for their turn
        traceback.print_exc()
        return Outcome(problems=(f"the scenario itself: {error!r}",))
    return replace(outcome, goals=()) if bench.smoke or outcome.problems else outcome


def _print_outcome(outcome: Outcome) -> None:
    for each in outcome.tables:
        _print_table(each)
    for goal in outcome.goals:
        print(f"  {_told(goal)}")
    for reason in outcome.skipped:
        print(f"  SKIPPED {reason}")
    for problem in outcome.problems:
        print(f"  FAILED  {problem}")
    sys.stdout.flush()


def _told(goal: Goal) -> str:
    word = {"both": "reached", "first": "FIRST  ", "none": "MISSED "}[goal.reached]
    bounds = [
        f"{when} {table.bound(goal, value)}"
        for when, value in (("first", goal.first), ("then", goal.then))
        if value is not None
    ]
    return f"{word}  {goal.name}: {table.figure(goal.measured)} ({', '.join(bounds)})"


def _print_table(shown: Table) -> None:
    print(f"\n{shown.title}\n\n{table.markdown(shown.columns, shown.rows)}\n")


if __name__ == "__main__":
    sys.exit(main())
