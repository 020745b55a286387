"""Whatever a line does between real processes: each image arrives once, each file comes home whole, in bounded time.

The troubles are done to bytes on the way, in heads, in bodies and in answers, and each is seen to have happened.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from rfbulk.emulator import EmulatorOptions, NewFile
from tests.chaos.conftest import Line, OpenLine, Tls
from tests.crash.commands import Ended, chance_of, closes, hashes_of
from tests.support.batches import tar_of, tree_of
from tests.support.chaos_proxy import Kind, Trouble, Way

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(240)]
KINDS: tuple[Kind, ...] = get_args(Kind)
STALL_SECONDS = 1.5
MOST_SECONDS = 60.0
"""Each trouble may cost a stall limit and a rest, on a busy machine; without a limit some would cost an hour."""

PLACES: tuple[tuple[Way, int], ...] = (("up", 20), ("up", 3000), ("up", 15_000), ("down", 0), ("down", 30))
"""In the head of the request, early and late in its body; before and in the answer."""

REPLACING = EmulatorOptions(if_generation_match=False)
"""A body that was damaged on the way can be sent again: with the precondition, the damaged one stays for good."""


def in_uploads(kind: Kind, match: bytes = b"PUT /") -> list[Trouble]:
    places = PLACES[1:] if kind == "flip" else PLACES  # another path is another object: refused, and named
    return [Trouble(kind, way, after, match) for way, after in places]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_upload_over_a_failing_line_arrives_exactly_once(
    open_line: OpenLine, images: Path, kind: Kind
) -> None:
    options = REPLACING if kind == "flip" else None
    async with open_line(*in_uploads(kind), options=options) as line:
        ended = await line.library("upload", images, "b", **SMALL, stall_seconds=STALL_SECONDS)
        check_upload(line, ended, images)


SMALL = {"shard_images": 10, "quiet_seconds": 0.1, "wait_seconds": 60.0, "concurrency": 4}


def check_upload(line: Line, ended: Ended, images: Path) -> None:
    """The oracle is what the service holds, not what was said."""
    assert ended.code == 0, ended
    report = ended.json
    assert hashes_of(images) == line.emulator.ledger("b").hashes, ended
    assert report["is_confirmed"], report
    assert (report["planned"], report["sent"]) == (120, 120)
    assert ended.seconds < MOST_SECONDS


GENTLE = {"delay", "trickle"}
CALLS = (b"GET /?api_key=", b"/bulk-upload/", b"/count?", b"/shards?")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "flip"])
async def test_calls_over_a_failing_line_are_made_again(open_line: OpenLine, images: Path, kind: Kind) -> None:
    """A flipped bit is none of these: an answer that cannot be read is final, and told."""
    ways: tuple[tuple[Way, int], ...] = (("down", 60), ("up", 30), ("down", 0))
    troubles = [[Trouble(kind, way, after, match) for match in CALLS for way, after in ways]]
    if kind in GENTLE:  # a call that gets through is not made again, nor is its connection closed: one for each upload
        troubles = [[Trouble(kind, *ways[0], match)] for match in CALLS]
    for number, some in enumerate(troubles):
        async with open_line(*some, home=f"home-{number}") as line:
            ended = await line.library("upload", images, "b", **SMALL, stall_seconds=STALL_SECONDS)
            check_upload(line, ended, images)


FILES = {f"img-{number:02}.jpg": chance_of(number).randbytes(24_000) for number in range(30)}
MEMBERS = {f"crop-{number:02}.png": chance_of(100 + number).randbytes(12_000) for number in range(40)}
DOWNLOAD_PLACES: tuple[tuple[Way, int], ...] = (("up", 10), ("down", 0), ("down", 90), ("down", 2000), ("down", 20_000))


async def lay_out(line: Line) -> dict[str, bytes]:
    """A batch of results, and the tree that it must become."""
    archives = [
        NewFile(f"crops-{number}.tar.gz", tar_of(dict(list(MEMBERS.items())[number::8]), gz=True))
        for number in range(8)
    ]
    files = [NewFile(name, content, f"shard-{place // 10}") for place, (name, content) in enumerate(FILES.items())]
    await line.emulator.add_batch("b", parts={"images": files, "archives": archives})
    images = {f"images/{name}": content for name, content in FILES.items()}
    return images | {f"archives/{name}": content for name, content in MEMBERS.items()}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_export_over_a_failing_line_brings_every_file_home_whole(
    open_line: OpenLine, tmp_path: Path, kind: Kind
) -> None:
    """Both plain files and an archive that is unpacked on the way."""
    of_files = [Trouble(kind, way, after, b".jpg?") for way, after in DOWNLOAD_PLACES]
    of_archive = [Trouble(kind, way, after, b".tar.gz?") for way, after in DOWNLOAD_PLACES]
    async with open_line(*of_files, *of_archive) as line:
        tree = await lay_out(line)
        ended = await line.library("export", "b", tmp_path / "out", stall_seconds=STALL_SECONDS, concurrency=4)
        assert ended.code == 0, ended
        assert (ended.json["closes"], ended.json["has_failures"]) == (True, False)
        assert tree == tree_of(tmp_path / "out")
        assert ended.seconds < MOST_SECONDS


ANYWHERE: tuple[tuple[Way, int], ...] = (("up", 40), ("up", 9000), ("down", 0))
SUDDEN: tuple[Kind, ...] = ("reset", "cut", "delay", "swallow")
MIXED = [Trouble(kind, way, after, b"PUT /") for kind in SUDDEN for way, after in ANYWHERE]


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("tls", get_args(Tls))
async def test_the_command_gets_through_a_failing_line(
    open_line: OpenLine, images: Path, tls: Tls, processes: str
) -> None:
    """Alone and with processes that send; where TLS passes through, troubles meet its records, handshakes too."""
    troubles = MIXED
    if tls == "passed through":
        # few: the first call may meet them all, one after the other, and waits longer each time
        troubles = [Trouble("reset", "up", 60), Trouble("cut", "up", 600), Trouble("cut", "down", 200)]
        troubles.append(Trouble("flip", "up", 650))  # in a record; a flipped length would be a stall
    async with open_line(*troubles, tls=tls) as line:
        ended = await line.command(
            *("upload", "images", images, "--batch-id", "b", "--json", "--shard-images", "10"),
            *("--quiet-period", "100ms", "--processes", processes, "--concurrency", "4"),
        )
        check_upload(line, ended, images)
        assert closes(ended.json)


@pytest.mark.parametrize("tls", get_args(Tls))
async def test_the_command_brings_all_home_over_a_failing_line(open_line: OpenLine, tmp_path: Path, tls: Tls) -> None:
    places: tuple[tuple[Way, int], ...] = (("up", 10), ("down", 0), ("down", 5000))
    kinds: tuple[Kind, ...] = ("reset", "cut", "flip", "delay", "swallow")
    troubles = [Trouble(kind, way, after, b".jpg?") for kind in kinds for way, after in places]
    if tls == "passed through":
        in_records: tuple[tuple[Way, int], ...] = (("up", 60), ("down", 5000))
        troubles = [Trouble(kind, way, after) for kind in kinds[:2] for way, after in in_records]
    async with open_line(*troubles, tls=tls) as line:
        tree = await lay_out(line)
        ended = await line.command("export", "b", tmp_path / "out", "--json", "--processes", "2")
        assert ended.code == 0, ended
        assert tree == tree_of(tmp_path / "out")


async def test_a_line_that_is_down_is_told_and_a_later_run_finishes(open_line: OpenLine, images: Path) -> None:
    async with open_line() as line:
        line.proxy.is_down = True
        ended = await line.library("upload", images, "b", **SMALL, budget_seconds=1.0)
        assert (ended.code, "TroublePassing" in ended.err) == (1, True), ended
        line.proxy.is_down = False
        check_upload(line, await line.library("upload", images, "b", **SMALL), images)


async def test_a_damaged_body_that_must_stay_is_named(open_line: OpenLine, images: Path) -> None:
    """Under `if-generation-match: 0` nothing takes the place of what was damaged on the way: the report says so."""
    async with open_line(Trouble("flip", "up", 9000, b"PUT /")) as line:
        ended = await line.library("upload", images, "b", **SMALL)
        assert ended.code == 0, ended
        assert ended.json["has_failures"]
        assert ended.json["closes"]
        whole, held = hashes_of(images), line.emulator.ledger("b").hashes
        assert ended.json["sent"] == 110, "of a damaged shard nobody can tell which image it was"
        assert 1 <= sum((whole - held).values()) <= 10, "one image, or all if it was a head of the tar"
        assert max(held.values()) == 1
