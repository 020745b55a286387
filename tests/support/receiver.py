"""Somebody on this machine who takes notifications, as kindly as a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Receiver:
    """Somebody who is told; answers with the statuses it was given, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    def named(self, name: str) -> list[Any]:
        return [body[name] for body in self.bodies]


@asynccontextmanager
async def receiver(*statuses: int) -> AsyncIterator[Receiver]:
    """Listen on a port of this machine; the first answers have these statuses."""
    taker = Receiver(statuses=list(statuses))
    app = web.Application()
    app.router.add_post("/hook", taker.take)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        taker.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield taker
    finally:
        await runner.cleanup()
