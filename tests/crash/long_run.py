"""`make crash`: kill and resume a thousand times and more, each time at another point, and account for every file.

Each case is a world of its own in which the command dies one to three times, the same said again each time, and is then
left to end. What the service has received, or the folder holds, is compared with what should be there.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from tests.crash.commands import Ended
from tests.crash.deaths import Death, deaths_of, die, run
from tests.crash.worlds import IMAGES, IMAGES_BY_PROCESSES, ROADS, SINGLES, VIDEOS, WEBHOOK, Account, Road, world_of
from tests.support.strace import why_no_strace

MOST_DEATHS = 3
LONGEST_TOLD = 500
OFTEN = {IMAGES.name: 4, VIDEOS.name: 2, SINGLES.name: 2, IMAGES_BY_PROCESSES.name: 1, WEBHOOK.name: 1}
"""How often a road is taken, beside others that are taken twice: those that cost less, more often."""


@dataclass(slots=True)
class Books:
    """What has happened so far."""

    deaths: Counter[tuple[str, str]] = field(default_factory=Counter)
    points: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    cases: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many deaths were died and followed by the same command again."""
        return self.deaths.total()

    @property
    def distinct(self) -> int:
        """At how many different points: a point is the road, the death, and the deaths before it in its case."""
        return sum(map(len, self.points.values()))

    def note(self, road: Road, past: Sequence[Death]) -> None:
        """Take note of a death, the last of those of its case."""
        key = road.name, past[-1].kind
        self.deaths[key] += 1
        self.points[key].add(" > ".join(map(str, past)))

    def close(self, road: Road, past: Sequence[Death], account: Account, home: Path) -> None:
        """Take note of how a case has ended."""
        self.cases[road.name] += 1
        self.lost[road.name] += account.lost
        self.doubled[road.name] += account.doubled
        if not account.is_clean:
            self.violations.append(f"{road.name}, {' > '.join(map(str, past))}, see {home}: {account}")

    def table(self) -> str:
        """Write what was tried, by road and by kind of death."""
        kinds = sorted({kind for _, kind in self.deaths})
        rows = [["", *kinds, "all", "points", "cases", "lost", "doubled"]]
        for road in sorted({name for name, _ in self.deaths}):
            counts = [self.deaths[road, kind] for kind in kinds]
            points = sum(len(found) for (name, _), found in self.points.items() if name == road)
            rest = [sum(counts), points, self.cases[road], self.lost[road], self.doubled[road]]
            rows.append([road, *map(str, [*counts, *rest])])
        ends = [self.total, self.distinct, self.cases.total(), self.lost.total(), self.doubled.total()]
        rows.append(["all", *map(str, [*(_sum(self.deaths, kind) for kind in kinds), *ends])])
        return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def _sum(deaths: Counter[tuple[str, str]], kind: str) -> int:
    return sum(count for (_, each), count in deaths.items() if each == kind)


class Plan:
    """Which road is taken next, and the deaths on it: the same for the same seed."""

    def __init__(self, seed: int, roads: Sequence[Road]) -> None:
        self.chance = random.Random(seed)
        self._roads = [road for road in roads for _ in range(OFTEN.get(road.name, 2))]
        self._deaths: dict[str, Iterator[Death]] = {road.name: deaths_of(road, self.chance) for road in roads}

    def next_case(self) -> tuple[Road, list[Death], random.Random]:
        """Return a road, its deaths, and the chance that its world is made with."""
        road = self.chance.choice(self._roads)
        deaths = [next(self._deaths[road.name]) for _ in range(self.chance.randint(1, MOST_DEATHS))]
        return road, deaths, random.Random(self.chance.random())


async def try_case(home: Path, road: Road, deaths: Sequence[Death], chance: random.Random, books: Books) -> bool:
    """Die as planned, then end. A death whose point is not reached is none: the command has ended well. True if clean.

    The folder of a case that was not clean stays to be looked at.
    """
    past: list[Death] = []
    try:
        async with world_of(road, home, chance) as world:
            for death in deaths:
                ended, died = await die(world, death)
                if not died:
                    break
                past.append(death)
                books.note(road, past)
            ended = await run(world)
            account = await world.account(ended) if _is_well(road, ended.code) else Account(wrong=[_said(ended)])
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding, and the other cases go on
        account = Account(wrong=[f"{type(error).__name__}: {error}"[:LONGEST_TOLD]])
    books.close(road, past, account, home)
    return account.is_clean


def _said(ended: Ended) -> str:
    return f"it ended with {ended.code}: {ended.err[-LONGEST_TOLD:]}"


def _is_well(road: Road, code: int) -> bool:
    return code == (0 if road.is_done is None else 143)


async def go_on_until(books: Books, plan: Plan, wanted: int, folder: Path, *, at_once: int, seconds: float) -> None:
    """Try cases until so many deaths were died, or the time is over."""
    ends_at = time.monotonic() + seconds
    number = 0

    async def work() -> None:
        nonlocal number
        while books.total < wanted and time.monotonic() < ends_at:
            number += 1
            home = folder / str(number)
            road, deaths, chance = plan.next_case()
            if await try_case(home, road, deaths, chance, books):
                await anyio.to_thread.run_sync(shutil.rmtree, home)
            _say(
                f"{books.total} deaths, {len(books.violations)} violations; {road.name}: {', '.join(map(str, deaths))}"
            )

    async with anyio.create_task_group() as tasks:
        for _ in range(at_once):
            tasks.start_soon(work)


def _clean_up(folder: Path, books: Books) -> None:
    if not books.violations:
        shutil.rmtree(folder)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """Run it. Ends with 1 if anything was lost, doubled, or otherwise wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.long_run", description=__doc__)
    parser.add_argument("--deaths", type=int, default=1000, help="how many kills, each followed by a resume")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--at-once", type=int, default=2, help="cases side by side")
    parser.add_argument("--minutes", type=float, default=120, help="it ends then at the latest")
    parser.add_argument("--road", action="append", choices=[road.name for road in ROADS], help="some roads only")
    parser.add_argument("--json", type=Path, help="also write the numbers to a file")
    asked = parser.parse_args()
    if why := why_no_strace():
        _say(f"*** No call of the system can be made to kill and no power can fail here: {why}")
    _say(f"seed {asked.seed}: --seed {asked.seed} dies at the same points again")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs this behind, and inherited
    books, began = Books(), time.monotonic()
    plan = Plan(asked.seed, [road for road in ROADS if not asked.road or road.name in asked.road])
    folder = Path(tempfile.mkdtemp(prefix="rfbulk-crash-"))
    limits = {"at_once": asked.at_once, "seconds": asked.minutes * 60}
    anyio.run(lambda: go_on_until(books, plan, asked.deaths, folder, **limits))
    _clean_up(folder, books)
    return _report(books, asked.deaths, asked.seed, time.monotonic() - began, asked.json)


def _report(books: Books, wanted: int, seed: int, seconds: float, file: Path | None) -> int:
    numbers = {
        "seed": seed,
        "deaths": books.total,
        "points": books.distinct,
        "cases": books.cases.total(),
        "lost": books.lost.total(),
        "doubled": books.doubled.total(),
        "violations": books.violations,
        "seconds": round(seconds, 1),
    }
    if file is not None:
        file.write_text(json.dumps(numbers | {"table": books.table()}, indent=2) + "\n")
    print(books.table())  # noqa: T201 - its table is what it is run for
    for violation in books.violations:
        _say(f"VIOLATION {violation}")
    rate = books.total / max(seconds, 0.001)
    _say(f"{books.total} deaths at {books.distinct} points in {seconds:.0f} s, {rate:.1f} a second, seed {seed}")
    return 1 if books.violations or books.total < wanted else 0


if __name__ == "__main__":
    sys.exit(main())
