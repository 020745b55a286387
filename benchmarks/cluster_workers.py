"""Many simulated workers in one process: real Dask workers, whose lines are arithmetic and whose shards are no bytes.

Run by `cluster.py`: the address of a scheduler, how many workers, the bytes per second of each one's line, and of the
line that all of them share (0: none).
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import distributed

from rfbulk.cluster.crafts import Craft
from rfbulk.cluster.hands import NAME, Hands
from rfbulk.core.model import Outcome, ShardJob, ShardResult
from rfbulk.edge.clock import RateLimit

if TYPE_CHECKING:
    from rfbulk.cluster.parcels import Manner
    from rfbulk.core.fetching import FetchJob, FetchResult
    from rfbulk.edge.lines import Call

PIECE = 4 << 20
ROUND_TRIP_SECONDS = 0.05


class SimulatedLine:
    """A line of so many bytes per second, behind it perhaps one that is shared."""

    def __init__(self, bytes_per_second: int, shared: RateLimit | None) -> None:
        self._seconds_per_byte = 1 / bytes_per_second
        self._own = RateLimit(bytes_per_second)
        self._shared = shared

    def send(self, job: ShardJob, call: Call) -> ShardResult:
        """Take the time that a shard would take."""
        left = job.tar_bytes
        while left > 0:
            piece = min(PIECE, left)
            behind = self._shared.due(piece) if self._shared is not None else 0.0
            call.wait(max(self._own.due(piece), behind) + piece * self._seconds_per_byte)
            call.on_bytes(piece)
            left -= piece
        call.wait(ROUND_TRIP_SECONDS)
        return ShardResult(Outcome.STORED, job.tar_bytes, crc32c=1, stored_crc32c=1, etag="simulated", status=200)


def craft_of(line: SimulatedLine, _manner: Manner) -> Craft:
    """Return what sends over a simulated line."""
    return Craft(line.send, _fetch, lambda: None, lambda: 0.0)


def _fetch(_jobs: Sequence[FetchJob], _call: Call) -> list[FetchResult]:
    raise NotImplementedError


async def serve(address: str, count: int, line: int, shared: int) -> None:
    """Be workers until the standard input ends."""
    site = RateLimit(shared) if shared else None
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait_for_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    workers = [
        distributed.Worker(address, nthreads=4, host="127.0.0.1", dashboard=False, memory_limit=0) for _ in range(count)
    ]
    for worker in workers:
        setattr(worker, NAME, Hands(worker, partial(craft_of, SimulatedLine(line, site))))
    await asyncio.gather(*workers)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
