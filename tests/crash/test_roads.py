"""Killed at any named place and said again: videos, and images one by one, arrive exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rfbulk.core.failpoints import Failpoint
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, Commands, closes, hashes_of, together, write_images
from tests.support.clips import write_clips

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
KILLED = 128 + 9
FILES = 16
QUICK = ("--json", "--quiet-period", "100ms")
OF_ALL = {
    Failpoint.SHARD_PLANNED,
    Failpoint.ATTEMPT_RECORDED,
    Failpoint.BODY_STARTED,
    Failpoint.ANSWER_RECEIVED,
    Failpoint.SENT_RECORDED,
    Failpoint.CONFIRM_STARTED,
}
OF_GRANTS = {Failpoint.GRANT_INTENDED, Failpoint.GRANT_RECEIVED, Failpoint.GRANT_RECORDED}


@dataclass(frozen=True, slots=True)
class Way:
    """One road: its words, its files, where it can be killed, and the faults that lead there."""

    words: tuple[str, ...]
    write: Callable[[Path, int], Path]
    failpoints: frozenset[Failpoint]


WAYS = {
    "videos": Way(("videos",), write_clips, frozenset(OF_ALL | OF_GRANTS)),
    "one-by-one": Way(("images", "--one-by-one"), write_images, frozenset(OF_ALL | {Failpoint.UNSURE_RECORDED})),
}
FAULTS = {Failpoint.UNSURE_RECORDED: ("image:swallow,times=2",)}


@pytest.mark.parametrize("road", sorted(WAYS))
async def test_killed_at_a_failpoint_and_said_again_each_file_arrives_once(road: str, tmp_path: Path) -> None:
    way = WAYS[road]

    async def die(failpoint: Failpoint) -> None:
        home = tmp_path / failpoint
        files = way.write(home / "files", FILES)
        async with Emulator(EmulatorOptions(api_key=KEY)) as emulator:
            emulator.faults.add(*FAULTS.get(failpoint, ()))
            commands = Commands(emulator.url, home)
            line = ["upload", *way.words, str(files), "--batch-id", "crash", *QUICK]
            number = 1 if failpoint is Failpoint.CONFIRM_STARTED else 2
            killed = await commands.run(*line, RFBULK_FAILPOINT=f"{failpoint}:{number}")
            assert killed.code == KILLED, killed
            ended = await commands.run(*line)
            assert ended.code == 0, ended
            assert closes(ended.json)
            assert (ended.json["sent"], ended.json["is_confirmed"]) == (FILES, True), ended
            assert hashes_of(files) == emulator.ledger("crash").hashes
            assert emulator.faults.unconsumed() == []
            commands.look_for_secrets()

    await together(die, sorted(way.failpoints))
