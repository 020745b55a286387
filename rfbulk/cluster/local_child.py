"""One process of a local cluster: a Dask scheduler, or a worker. It ends with the coordinator that started it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any, cast

import dask
import distributed
import msgspec
from distributed import Scheduler, Worker

from rfbulk.cluster.local import Part


def main() -> None:
    """Serve as the first line of the standard input says, until that ends."""
    part = msgspec.json.decode(sys.stdin.readline(), type=Part)
    threading.Thread(target=_end_with_coordinator, daemon=True).start()
    dask.config.set({"distributed.worker.memory.terminate": False, "distributed.admin.tick.interval": "1s"})
    asyncio.run(_serve(part))
    os._exit(0)


async def _serve(part: Part) -> None:
    security = cast("Any", distributed).Security(require_encryption=True, **part.security)
    if not part.address:
        async with Scheduler(
            host="127.0.0.1", port=0, protocol="tls", security=security, dashboard=False, dashboard_address=None
        ) as scheduler:
            sys.stdout.write(f"{scheduler.address}\n")
            sys.stdout.flush()
            await scheduler.finished()
        return
    async with Worker(
        part.address,
        nthreads=part.threads,
        name=part.name,
        host="127.0.0.1",
        security=security,
        memory_limit=0,
        dashboard=False,
    ) as worker:
        await worker.finished()


def _end_with_coordinator() -> None:
    while sys.stdin.read(4096):
        pass
    os._exit(0)
