"""The soak's service in a process of its own: it counts what it is sent, keeps nothing, and is begun anew at times.

python -m tests.soak.server    prints its address; ends when its standard input does
"""

from __future__ import annotations

import asyncio
import sys

import anyio

from rfbulk.emulator import Emulator, EmulatorOptions, NewFile
from rfbulk.emulator.adding import Made
from tests.support.batches import tar_of

FILES, FILE_BYTES = 120, 1 << 20
ARCHIVES, MEMBERS, MEMBER_BYTES = 6, 200, 20_000
EXPORT_BYTES = FILES * FILE_BYTES + ARCHIVES * MEMBERS * MEMBER_BYTES


async def serve() -> None:
    async with Emulator(EmulatorOptions(store="count", index_delay_seconds=0.05)) as emulator:
        files = [
            NewFile(f"img-{number:04}.jpg", Made(FILE_BYTES, number), f"s-{number // 16}") for number in range(FILES)
        ]
        members = {f"crop-{number:04}.png": bytes([number % 251]) * MEMBER_BYTES for number in range(MEMBERS)}
        packed = tar_of(members)
        archives = [NewFile(f"crops-{number}.tar", packed) for number in range(ARCHIVES)]
        await emulator.add_batch("results", parts={"images": files, "archives": archives})
        print(emulator.url, flush=True)  # noqa: T201 - it is a program
        await anyio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)


if __name__ == "__main__":
    asyncio.run(serve())
