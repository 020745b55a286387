"""`make soak`: move 50 GB up and down in one process that goes on living, while things fail, and look whether it grows.

    SOAK_BYTES=50GB SOAK_MINUTES=N    as long as told by the clock, if that is given

Uploads and exports alternate in one event loop with one client, a third of them with processes that send and receive.
The service counts what it gets. Files are sparse, and what is brought home is deleted. Ends with 1 if anything is not
flat, or if a transfer was not whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rfbulk import Client, ExportOptions, Settings, UploadOptions
from rfbulk.core.retry import RetryPolicy
from tests.soak.measuring import Sample, complaints, look
from tests.soak.server import EXPORT_BYTES

LARGE, LARGE_BYTES = 120, 4 << 20
SMALL, SMALL_BYTES = 1500, 20_000
UPLOAD_BYTES = LARGE * LARGE_BYTES + SMALL * SMALL_BYTES
ROUNDS_OF_A_SERVICE = 6
WARM_ROUNDS = 3
"""Looked at from then on: modules are loaded, pools are filled, allocators have had their peak."""

FAULTS = (
    *("put:status=503", "put:reset,after-bytes=100000", "put:swallow", "put:status=403", "put:stall,seconds=3"),
    *("put:corrupt,keep=no", "put:status=429,Retry-After=0", "grant:status=503", "grant:swallow", "count:status=502"),
    *("download:reset,after-bytes=50000", "download:truncate,after-bytes=9999", "download:corrupt", "download:expired"),
    *("download:status=503", "list:status=502", "list:reset", "shards:reset", "parts:status=500"),
)
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass
class Soak:
    """What has been moved, and what was seen on the way."""

    bytes_wanted: int
    ends_at: float | None
    began: float = field(default_factory=time.monotonic)
    moved: int = 0
    rounds: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    beginning: Sample | None = None

    @property
    def is_over(self) -> bool:
        if self.ends_at is not None:
            return time.monotonic() >= self.ends_at
        return self.moved >= self.bytes_wanted


def main() -> int:
    minutes = os.environ.get("SOAK_MINUTES")
    ends_at = time.monotonic() + 60 * float(minutes) if minutes else None
    soak = Soak(bytes_of(os.environ.get("SOAK_BYTES") or "50GB"), ends_at)
    with tempfile.TemporaryDirectory() as text:
        asyncio.run(carry_out(soak, Path(text)))
    return report(soak)


def bytes_of(text: str) -> int:
    """Read a size such as 50GB."""
    unit = text[-2:].upper()
    return int(float(text[:-2]) * _UNITS[unit]) if unit in _UNITS else int(text)


async def carry_out(soak: Soak, folder: Path) -> None:
    """Go on until it is enough. The client lives on while services come and go."""
    chance = random.Random(1)
    images = write_images(folder / "images")
    soak.beginning = look()
    while not soak.is_over:
        async with service() as url, client_of(url, folder) as client:
            for _ in range(ROUNDS_OF_A_SERVICE):
                if soak.is_over:
                    break
                await asyncio.to_thread(add_faults, url, chance.sample(FAULTS, 6))
                await one_round(soak, client, images, folder)
    soak.samples.append(look())


async def one_round(soak: Soak, client: Client, images: Path, folder: Path) -> None:
    """Up and down once, and a look."""
    soak.rounds += 1
    processes = 2 if soak.rounds % 3 == 0 else 1
    sent = await client.upload_images(
        images, f"b-{soak.rounds}", options=UploadOptions(processes=processes, quiet_seconds=0.2, shard_images=100)
    )
    assert (sent.sent, sent.is_confirmed, sent.has_failures, sent.closes) == (LARGE + SMALL, True, False, True), sent
    home = folder / "home"
    found = await client.export("results", home, options=ExportOptions(processes=processes))
    assert (found.has_failures, found.closes) == (False, True), found
    await asyncio.to_thread(shutil.rmtree, home)
    await asyncio.to_thread(shutil.rmtree, folder / "state")
    soak.moved += UPLOAD_BYTES + EXPORT_BYTES
    soak.retries.update(sent.retries)
    soak.retries.update(found.retries)
    sample = look()
    if soak.rounds > WARM_ROUNDS:
        soak.samples.append(sample)
    said = json.dumps({"round": soak.rounds, "moved": soak.moved, "seconds": round(time.monotonic() - soak.began)})
    print(said, json.dumps(asdict(sample)), flush=True)  # noqa: T201 - it is a program


@asynccontextmanager
async def service() -> AsyncIterator[str]:
    """A service in a process of its own, so that its ledger is not taken for a leak of ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.server", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    if process.stdout is None or process.stdin is None:
        raise AssertionError("pipes were asked for")
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def client_of(url: str, folder: Path) -> AsyncIterator[Client]:
    settings = Settings(
        api_url=url,
        state_dir=folder / "state",
        stall_seconds=2.0,
        retry=RetryPolicy(first_seconds=0.05, cap_seconds=0.5, budget_seconds=60.0),
    )
    async with Client("emulator", settings=settings) as client:
        yield client


def add_faults(url: str, texts: list[str]) -> None:
    """Have the service fail in these ways, once each."""
    request = urllib.request.Request(f"{url}/_emulator/faults", json.dumps(texts).encode(), method="POST")  # noqa: S310 - our own
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        answer.read()


def write_images(folder: Path) -> Path:
    """Some large and many small files, all of them holes."""
    folder.mkdir()
    for count, size, prefix in ((LARGE, LARGE_BYTES, "large"), (SMALL, SMALL_BYTES, "small")):
        for number in range(count):
            with (folder / f"{prefix}-{number:05}.jpg").open("wb") as file:
                file.truncate(size)
    return folder


def report(soak: Soak) -> int:
    """Say what was moved and whether anything grew."""
    seconds = time.monotonic() - soak.began
    found = complaints(soak.samples) if len(soak.samples) > 3 else ["it was too short to tell"]
    lines = [
        f"moved {soak.moved / 1e9:.1f} GB in {soak.rounds} rounds and {seconds / 60:.1f} minutes",
        f"troubles met: {dict(sorted((str(name), count) for name, count in soak.retries.items()))}",
        f"{'':14}{'beginning':>14}{'warm':>14}{'middle':>14}{'end':>14}",
    ]
    looks = [soak.beginning or soak.samples[0], soak.samples[0], soak.samples[len(soak.samples) // 2], soak.samples[-1]]
    rows = (f"{name:14}" + "".join(f"{getattr(each, name):>14,}" for each in looks) for name in asdict(looks[1]))
    lines.extend(rows)
    lines.append("flat" if not found else "NOT FLAT: " + "; ".join(found))
    print("\n".join(lines))  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
