"""Real processes, an emulator in the test's own loop, and between them a line that goes wrong."""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import trustme

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, Commands, Ended, write_images
from tests.support.chaos_proxy import ChaosProxy, Trouble

ROOT = Path(__file__).parent.parent.parent
DRIVER = (sys.executable, "-m", "tests.chaos.driver")
Tls = Literal["none", "ended by the proxy", "passed through"]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": False}


@dataclass
class Line:
    """A service behind a line, and who speaks to it."""

    emulator: Emulator
    proxy: ChaosProxy
    commands: Commands
    authority: Path | None = None

    async def command(self, *arguments: str | Path) -> Ended:
        """Run the command to its end."""
        trust = ["--ca-file", str(self.authority)] if self.authority else []
        return await self.commands.run(*trust, *arguments, seconds=100.0)

    async def library(self, road: str, first: str | Path, second: str | Path, **options: Any) -> Ended:
        """Use the library in a process of its own, to its end."""
        trust = {"ca_file": str(self.authority)} if self.authority else {}
        text = msgspec.json.encode(options | trust).decode()
        return await self.commands.run(road, first, second, text, program=DRIVER, cwd=ROOT, seconds=100.0)


OpenLine = Callable[..., AbstractAsyncContextManager[Line]]


@pytest.fixture
def open_line(tmp_path: Path) -> OpenLine:
    """Open a line with these troubles. In the end each must have happened, and nothing secret been said."""

    @asynccontextmanager
    async def open_it(
        *troubles: Trouble, tls: Tls = "none", options: EmulatorOptions | None = None, home: str = "home"
    ) -> AsyncIterator[Line]:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        folder = tmp_path / home
        folder.mkdir()
        file = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(file))
        async with AsyncExitStack() as stack:
            is_ended = tls == "ended by the proxy"
            proxy = await stack.enter_async_context(ChaosProxy(*troubles, server_tls=context if is_ended else None))
            url = f"{'http' if tls == 'none' else 'https'}://127.0.0.1:{proxy.port}"
            served = replace(
                options or EmulatorOptions(),
                api_key=KEY,
                public_url=url,
                tls=context if tls == "passed through" else None,
            )
            emulator = await stack.enter_async_context(Emulator(served))
            proxy.to("127.0.0.1", int(emulator.url.rpartition(":")[2]))
            yield Line(emulator, proxy, Commands(url, folder), None if tls == "none" else file)
            assert proxy.unmet() == []
        Commands(url, folder).look_for_secrets()

    return open_it


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", 120)
