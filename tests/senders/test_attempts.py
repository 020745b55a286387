"""What an attempt holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from rfbulk.core.model import Entry, Grant, Outcome, ShardJob
from rfbulk.core.secrets import SignedUrl
from rfbulk.edge.answers import PutBroken
from rfbulk.edge.lines import Call
from rfbulk.edge.troubles import TroubleKind
from rfbulk.senders.attempts import Attempts, Packer, pack_files
from tests.support.load import Load

if TYPE_CHECKING:
    from rfbulk.edge.uplink import Uplink

CHUNK = 4096
GRANT = Grant(SignedUrl("https://store.example/o"), {}, None, None, once_only=False)
JOB = ShardJob(1, (b"/nowhere",), (Entry(0, b"a.jpg", "a.jpg", 10, 0, 0),), b"", 3072, GRANT)


class Nowhere:
    """An uplink that leads nowhere."""

    def put(self, *_: Any, **__: Any) -> None:
        raise PutBroken(TroubleKind.CONNECT, "no connection", bytes_sent=0, complete=False)


class World:
    """Attempts, and the buffers that they packed into."""

    def __init__(self, *, takes_turns: bool) -> None:
        self.held: list[bytearray] = []
        uplink = cast("Uplink", Nowhere())
        self.attempts = Attempts(uplink, chunk_bytes=CHUNK, stall_seconds=1.0, pack=self.pack, takes_turns=takes_turns)
        self.load = Load()
        if takes_turns:
            self.attempts._turns = self.load.turns()

    def pack(self, job: ShardJob, buffer: bytearray, call: Call) -> Packer:
        self.held.append(buffer)
        return pack_files(job, buffer, call)

    def make(self) -> int:
        """Make an attempt, and return how long its buffer was."""
        assert self.attempts.make(JOB, Call(lambda _count: None)).outcome is Outcome.BROKEN
        return len(self.held[-1])


@pytest.mark.parametrize(("takes_turns", "length"), [(False, CHUNK), (True, CHUNK // 2)])
def test_an_attempt_holds_a_chunk_and_where_many_go_at_once_half_of_one(takes_turns: bool, length: int) -> None:
    assert length == World(takes_turns=takes_turns).make()


def test_whoever_has_its_turn_holds_two_and_what_the_others_held_is_given_back() -> None:
    world = World(takes_turns=True)
    world.make()
    world.load.go_on(1.0)
    assert world.make() == 2 * CHUNK
    assert [len(buffer) for buffer in world.attempts._buffers] == [2 * CHUNK]
    world.load.go_on(0.0)
    assert world.make() == CHUNK // 2
    assert [len(buffer) for buffer in world.attempts._buffers] == [CHUNK // 2]


def test_a_buffer_goes_on_to_the_next_shard() -> None:
    world = World(takes_turns=False)
    world.make()
    world.make()
    assert world.held[0] is world.held[1]
    world.attempts.release()
    world.make()
    assert world.held[1] is not world.held[2]
