"""An application with an event loop of its own, which ticks every 10 ms and notes how late each tick is.

    python embedding_host.py alone SECONDS                        nothing else to do
    python embedding_host.py beside COMMAND...                    while another process does the work
    python embedding_host.py within LOOP FOLDER URL BATCH         while rfbulk uploads in the same loop

Prints one JSON object. Started by `embedding.py`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PERIOD_SECONDS = 0.010


async def tick_while(work: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Tick until the work is done; return how late the ticks were, and how long it took."""
    lags: list[float] = []
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        ticker = group.create_task(_tick(lags))
        await work()
        ticker.cancel()
    parts = statistics.quantiles(lags, n=100, method="inclusive")
    return {
        "p50_seconds": parts[49],
        "p99_seconds": parts[98],
        "max_seconds": max(lags),
        "ticks": len(lags),
        "wall_seconds": time.monotonic() - started,
    }


async def _tick(lags: list[float]) -> None:
    now = asyncio.get_running_loop().time
    while True:
        due = now() + PERIOD_SECONDS
        await asyncio.sleep(PERIOD_SECONDS)
        lags.append(now() - due)


async def alone(seconds: str) -> dict[str, float]:
    """Do nothing for a while."""

    async def work() -> None:
        await asyncio.sleep(float(seconds))

    return await tick_while(work)


async def beside(*command: str) -> dict[str, float]:
    """Wait for another process."""

    async def work() -> None:
        process = await asyncio.create_subprocess_exec(*command, stdout=sys.stderr)
        if await process.wait() != 0:
            raise SystemExit(f"{command[0]} failed")

    return await tick_while(work)


async def within(folder: str, url: str, batch: str) -> dict[str, float]:
    """Upload a folder here."""
    client_class = importlib.import_module("rfbulk").Client  # loaded before the first tick, as any host would

    async def work() -> None:
        async with client_class(api_key="bench", api_url=url) as client:
            await client.upload_images(folder, batch_id=batch)

    return await tick_while(work)


def main(mode: str, *arguments: str) -> None:
    """Run one mode in the loop it asks for."""
    factory = None
    match mode:
        case "alone":
            found = alone(*arguments)
        case "beside":
            found = beside(*arguments)
        case "within":
            loop, *rest = arguments
            factory = importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None
            found = within(*rest)
        case _:
            raise SystemExit(__doc__)
    with asyncio.Runner(loop_factory=factory) as runner:
        print(json.dumps(runner.run(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
