"""The roads of rfbulk as small worlds that can die: a service, data, a command, and the account of what is there."""

from __future__ import annotations

import json
import random
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from rfbulk.core.failpoints import OF_EXPORTS, OF_INGESTS, OF_RUNS, OF_UPLOADS, OF_WEBHOOKS, Failpoint
from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions, JobScript, NewFile, WebhookOptions
from rfbulk.emulator.images import sample_image
from tests.crash.commands import KEY, Commands, Ended, closes, hash_of, hashes_of, read, write_images
from tests.edge.test_notices_store import ingest_event
from tests.support.batches import content_of, small_files, tar_of, tree_of
from tests.support.clips import write_clips

BATCH = "crash"
SERVICES: list[dict[str, object]] = [
    {},
    {"if_generation_match": False},
    {"shard_id_in_url": False},
    {"shard_id_in_url": False, "list_unfilled_shards": False},
    {"count_mode": "accepted", "index_delay_seconds": 0.05},
    {"index_delay_seconds": 0.05, "page_size": 2},
    {"date_skew_seconds": 10_800.0},
    {"date_skew_seconds": -10_800.0},
]
"""How the service may be, where nobody knows how it is."""

PUBLISHABLE = "rf_acme-7f3a"


@dataclass(slots=True)
class Account:
    """What is there against what should be. Nothing may be lost, nothing doubled, and nothing else wrong."""

    lost: int = 0
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.doubled or self.wrong)

    def compare(self, wanted: Counter[str], found: Counter[str]) -> Account:
        """Count what is missing, and what is there too often."""
        self.lost += (wanted - found).total()
        self.doubled += (found - wanted).total()
        return self

    def expect(self, holds: object, what: str) -> Account:
        """Take note of anything else that is wrong."""
        if not holds:
            self.wrong.append(what)
        return self


@dataclass(slots=True)
class World:
    """One service and one user of it."""

    emulator: Emulator
    commands: Commands
    road: Road
    port: int = 0

    @property
    def home(self) -> Path:
        """The user's folder: the state, the data, and what comes home."""
        return self.commands.home

    @property
    def roots(self) -> list[Path]:
        """What a power failure harms."""
        return [self.commands.state, self.home / "out"]

    @property
    def line(self) -> list[str | Path]:
        """The command."""
        return self.road.line(self)

    def is_done(self) -> bool:
        """Whether a command that ends not by itself has done its work."""
        return self.road.is_done is not None and self.road.is_done(self)

    async def account(self, ended: Ended) -> Account:
        """Compare what is there with what should be, once the command has ended well."""
        await self.emulator.settled()
        account = self.road.account(self, Account(), ended)
        account.expect("Traceback" not in ended.err, "a traceback")
        await anyio.to_thread.run_sync(self.commands.look_for_secrets)
        return account


@dataclass(frozen=True, slots=True)
class Road:
    """One command, the world that it needs, where it can die by name, and how its work is accounted for."""

    name: str
    line: Callable[[World], list[str | Path]]
    account: Callable[[World, Account, Ended], Account]
    failpoints: frozenset[Failpoint]
    prepare: Callable[[World], Awaitable[None]]
    options: Callable[[random.Random], EmulatorOptions]
    seconds: float = 0.9
    """About how long the command takes, for deaths at random moments."""

    is_done: Callable[[World], bool] | None = None
    """Of a command that goes on for ever: whether it has done its work."""


@asynccontextmanager
async def world_of(road: Road, home: Path, chance: random.Random) -> AsyncIterator[World]:
    """Make the world of a road in a new folder."""
    await anyio.Path(home).mkdir(parents=True)
    async with Emulator(road.options(chance)) as emulator:
        world = World(emulator, Commands(emulator.url, home), road)
        await road.prepare(world)
        yield world


def any_service(chance: random.Random) -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY, **chance.choice(SERVICES))  # type: ignore[arg-type]  # as each option is typed


def _paging(_chance: random.Random) -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY, page_size=6, asked_page_size="ignored")


def _with_jobs(_chance: random.Random) -> EmulatorOptions:
    webhooks = WebhookOptions(workspace_id="acme-7f3a", attempts=1000, first_seconds=0.05, cap_seconds=0.1)
    return EmulatorOptions(api_key=KEY, jobs=JobOptions(JobScript(seconds=0.1), task_files=3), webhooks=webhooks)


QUICK = ("--json", "--quiet-period", "50ms")


async def _no_more(_world: World) -> None:
    """The command's line writes what it needs."""


# uploads


def _uploaded(world: World, account: Account, ended: Ended) -> Account:
    report = ended.json
    account.expect(closes(report), "the books do not close").expect(report["is_confirmed"], "not confirmed")
    wanted = hashes_of(world.home / "files")
    account.expect(report["sent"] == wanted.total(), f"{report['sent']} sent")
    return account.compare(wanted, world.emulator.ledger(BATCH).hashes)


def _upload(*words: str, write: Callable[[Path, int], Path], files: int) -> Callable[[World], list[str | Path]]:
    def line(world: World) -> list[str | Path]:
        folder = world.home / "files"
        if not folder.exists():
            write(folder, files)
        return ["upload", words[0], folder, "-b", BATCH, *QUICK, *words[1:]]

    return line


IMAGES = Road(
    "upload images",
    _upload("images", "--shard-images", "8", "--concurrency", "3", write=write_images, files=32),
    _uploaded,
    OF_UPLOADS - {Failpoint.SPLIT_RECORDED, Failpoint.REPACK_RECORDED, Failpoint.UNSURE_RECORDED},
    _no_more,
    any_service,
)
IMAGES_BY_PROCESSES = Road(
    "upload images by processes",
    _upload("images", "--shard-images", "8", "--concurrency", "4", "--processes", "2", write=write_images, files=64),
    _uploaded,
    IMAGES.failpoints,
    _no_more,
    any_service,
    seconds=1.4,
)
_OF_FILES = frozenset(
    {
        Failpoint.SHARD_PLANNED,
        Failpoint.ATTEMPT_RECORDED,
        Failpoint.BODY_STARTED,
        Failpoint.ANSWER_RECEIVED,
        Failpoint.SENT_RECORDED,
        Failpoint.CONFIRM_STARTED,
    }
)
VIDEOS = Road(
    "upload videos",
    _upload("videos", write=write_clips, files=8),
    _uploaded,
    _OF_FILES | {Failpoint.GRANT_INTENDED, Failpoint.GRANT_RECEIVED, Failpoint.GRANT_RECORDED},
    _no_more,
    any_service,
)
SINGLES = Road(
    "upload images one by one",
    _upload("images", "--one-by-one", write=write_images, files=12),
    _uploaded,
    _OF_FILES,
    _no_more,
    lambda _chance: EmulatorOptions(api_key=KEY),
)

# references

LISTED = 5_050


def _references(world: World) -> list[str | Path]:
    path = world.home / "list.key"  # of that kind no secrets are looked for
    rows = ({"name": f"{n}.mp4", "url": f"https://bucket.example/{n}?X-Goog-Signature=x"} for n in range(LISTED))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["upload", "references", path, "-b", BATCH, "--kind", "videos", *QUICK]


def _fetched_by_service(world: World, account: Account, ended: Ended) -> Account:
    account.expect(ended.json["is_confirmed"], "not confirmed")
    return account.compare(Counter(f"{n}.mp4" for n in range(LISTED)), world.emulator.ledger(BATCH).names)


REFERENCES = Road(
    "upload references",
    _references,
    _fetched_by_service,
    OF_INGESTS,
    _no_more,
    lambda _chance: EmulatorOptions(api_key=KEY),
)

# exports

_MEMBERS = {f"crop-{number:03}.png": b"\x89PNG%d" % number * 50 for number in range(6)}


def _results() -> dict[str, list[NewFile]]:
    rows = [NewFile(f"r-{n}.jsonl", b'{"n":%d}\n' % n, f"shard-{n}") for n in range(2)]
    return {
        "images": small_files(16),
        "archives": [NewFile("crops.tar.gz", tar_of(_MEMBERS, gz=True), "shard-0")],
        "results": rows,
    }


async def _offer_results(world: World) -> None:
    await world.emulator.add_batch(BATCH, parts=_results())


def _came_home(world: World, account: Account, ended: Ended) -> Account:
    report = ended.json
    account.expect(report["left"] + report["failed"] == 0, "files are left")
    parts = _results()
    tree = {f"{part}/{file.name}": content_of(file) for part in ("images", "results") for file in parts[part]}
    tree |= {f"archives/{name}": content for name, content in _MEMBERS.items()}
    found = {path: content for path, content in tree_of(world.home / "out").items() if "manifest" not in path}
    account.compare(_hashes(tree), _hashes(found))
    manifest = read(world.home / "out" / f"{BATCH}.manifest.jsonl")
    account.expect(manifest.count("\n") == len(tree), "the manifest is another")
    return account.expect(not list((world.home / "out").glob(".rfbulk*")), "staging is left")


def _hashes(tree: dict[str, bytes]) -> Counter[str]:
    return Counter(f"{path} {hash_of(content)}" for path, content in tree.items())


EXPORT = Road(
    "export",
    lambda world: ["export", BATCH, world.home / "out", "--json", "--concurrency", "4"],
    _came_home,
    OF_EXPORTS - {Failpoint.RESTORE_RECORDED, Failpoint.OTHER_PATH_RECORDED, Failpoint.FAILED_RECORDED},
    _offer_results,
    _paging,
)

# runs

_PICTURES = 8


async def _write_pictures(world: World) -> None:
    folder = world.home / "files"
    folder.mkdir()
    for number in range(_PICTURES):
        (folder / f"{number}.png").write_bytes(sample_image(number))


def _run(world: World) -> list[str | Path]:
    shape = ["--shard-images", "4", *QUICK]
    return ["run", world.home / "files", "-w", "detect", "-o", world.home / "out", "-b", BATCH, *shape]


def _ran(world: World, account: Account, _ended: Ended) -> Account:
    wanted = hashes_of(world.home / "files")
    account.compare(wanted, world.emulator.ledger(BATCH).hashes).compare(wanted, _rows(world.home / "out"))
    return account.expect(world.emulator.requests["start"] == 1, "more than one job was started")


def _rows(folder: Path) -> Counter[str]:
    rows = [row for path in folder.rglob("results-*.jsonl") for row in path.read_text().splitlines()]
    return Counter(json.loads(row)["sha256"] for row in rows)


RUN = Road(
    "run",
    _run,
    _ran,
    OF_RUNS | {Failpoint.GRANT_RECEIVED, Failpoint.SENT_RECORDED, Failpoint.FETCH_ENDED, Failpoint.MANIFEST_WRITTEN},
    _write_pictures,
    _with_jobs,
    seconds=1.6,
)

# receivers of notifications

_EVENTS = 3


async def _begin_to_notify(world: World) -> None:
    """The service notifies until it is heard, whenever that is."""
    files = [NewFile(f"{number}.png", sample_image(number)) for number in range(_PICTURES)]
    await world.emulator.add_batch(BATCH, files=files)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        world.port = listener.getsockname()[1]
    for number in range(_EVENTS):
        await world.emulator.notify(f"http://127.0.0.1:{world.port}/", json.loads(ingest_event(f"e-{number}", BATCH)))


def _serve(world: World) -> list[str | Path]:
    key_file, config = world.home / "publishable.key", world.home / "flows.toml"
    key_file.write_text(PUBLISHABLE)
    flow = f'[[flow]]\nbatches = ["crash*"]\noutput = "{world.home}/out/{{batch}}"\nexpect = {_PICTURES}\n'
    config.write_text(f'{flow}job = {{ workflow_id = "detect" }}\n')
    more: list[str | Path] = [
        "--port",
        str(world.port),
        "--key-file",
        key_file,
        "--run-config",
        config,
        "--exec",
        "true",
        "--json",
    ]
    return ["webhook", "serve", *more]


def _inbox(world: World, sql: str) -> list[tuple[str, ...]]:
    path = world.commands.state / "webhook" / "inbox.sqlite"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchall()
    except sqlite3.Error:  # it is not there yet
        return []


def _has_worked_off(world: World) -> bool:
    rows = _inbox(world, "SELECT followed, flowed FROM notices")
    return len(rows) == _EVENTS and all(followed == "done" and "done" in flowed for followed, flowed in rows)


def _served(world: World, account: Account, _ended: Ended) -> Account:
    events = Counter(json.loads(body)["event_id"] for (body,) in _inbox(world, "SELECT body FROM notices"))
    account.expect(events.total() == len(events) == _EVENTS, f"{events} were kept")
    account.compare(Counter(hash_of(sample_image(n)) for n in range(_PICTURES)), _rows(world.home / "out"))
    return account.expect(world.emulator.requests["start"] == 1, "more than one job was started")


WEBHOOK = Road(
    "webhook serve",
    _serve,
    _served,
    OF_RUNS | OF_WEBHOOKS - {Failpoint.FOLLOW_FAILED},
    _begin_to_notify,
    _with_jobs,
    seconds=1.2,
    is_done=_has_worked_off,
)

ROADS = (IMAGES, IMAGES_BY_PROCESSES, VIDEOS, SINGLES, REFERENCES, EXPORT, RUN, WEBHOOK)
