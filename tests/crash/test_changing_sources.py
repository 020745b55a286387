"""Files that change, vanish and come back while they are sent: what arrives is what some file was, whole."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rfbulk.emulator import Emulator, EmulatorOptions, Ledger
from tests.crash.commands import KEY, Commands, chance_of, closes, hash_of, read, together, until, write_images

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
SEED = int(os.environ.get("RFBULK_CRASH_SEED", "1"))
IMAGES = 200
SOURCES = 3
PAUSE_SECONDS = 0.004
SEVERAL_FAILED = 3


@dataclass(slots=True)
class Meddler:
    """Changes files one after another, and takes note of every version before anybody can see it."""

    folder: Path
    chance: random.Random
    paths: list[Path] = field(init=False)
    versions: set[str] = field(init=False)
    done: threading.Event = field(default_factory=threading.Event)
    changes: int = 0

    def __post_init__(self) -> None:
        self.paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        self.versions = {hash_of(path.read_bytes()) for path in self.paths}

    def meddle(self) -> None:
        """Change files until told to stop."""
        ways = [self.replace, self.truncate, self.grow, self.delete, self.touch, self.write_anew]
        while not self.done.wait(PAUSE_SECONDS):
            self.chance.choice(ways)(self.chance.choice(self.paths))
            self.changes += 1

    def replace(self, path: Path) -> None:
        new = path.with_suffix(".part")
        new.write_bytes(self.noted(b"\xff\xd8" + self.chance.randbytes(self.chance.randrange(1, 9000))))
        new.replace(path)

    def truncate(self, path: Path) -> None:
        if path.exists() and (length := path.stat().st_size) > 1:
            shorter = self.chance.randrange(1, length)
            self.noted(path.read_bytes()[:shorter])
            os.truncate(path, shorter)

    def grow(self, path: Path) -> None:
        if path.exists():
            more = self.chance.randbytes(100)
            self.noted(path.read_bytes() + more)
            with path.open("ab", buffering=0) as file:
                file.write(more)

    def delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def touch(self, path: Path) -> None:
        if path.exists():
            os.utime(path)

    def write_anew(self, path: Path) -> None:
        """Delete it, so that it is another file of the same name."""
        path.unlink(missing_ok=True)
        self.replace(path)

    def noted(self, content: bytes) -> bytes:
        self.versions.add(hash_of(content))
        return content


@contextmanager
def meddling(meddler: Meddler) -> Iterator[None]:
    thread = threading.Thread(target=meddler.meddle, daemon=True)
    thread.start()
    try:
        yield
    finally:
        meddler.done.set()
        thread.join(10)


async def test_a_source_that_changes_under_an_upload_ends_it_in_order(tmp_path: Path) -> None:
    async def change(seed: int) -> None:
        await upload_while_it_changes(tmp_path / str(seed), seed)

    await together(change, range(SEED * 100, SEED * 100 + SOURCES))


async def upload_while_it_changes(home: Path, seed: int) -> None:
    images = write_images(home / "images", IMAGES, size=9000, seed=seed)
    names = {path.relative_to(images).as_posix().replace("/", "__") for path in images.rglob("*.jpg")}
    async with Emulator(EmulatorOptions(api_key=KEY)) as emulator:
        commands = Commands(emulator.url, home)
        log = home / "events.jsonl"
        meddler = Meddler(images, chance_of(seed))
        line = ["upload", "images", str(images), "--batch-id", "crash", "--json", "--shard-images", "20"]
        slow = ["--limit-rate", "400KiB", "--quiet-period", "100ms", "--log-file", str(log), "--concurrency", "3"]
        async with commands.started(*line, *slow) as running:
            await until(lambda: has_scanned(log))
            with meddling(meddler):
                ended = await running.ended()
        assert ended.code in {0, SEVERAL_FAILED}, ended
        assert "Traceback" not in ended.err
        assert meddler.changes > IMAGES // 4, "nothing happened to the source"
        check(ended.json, emulator.ledger("crash"), meddler, names, images)
        # the source rests now: the same again ends too, sends nothing twice, and names what is different
        again = await commands.run(*line, "--quiet-period", "100ms")
        assert again.code in {0, SEVERAL_FAILED}, again
        still_there = {name for name in names if (images / name.replace("__", "/")).exists()}
        check(again.json, emulator.ledger("crash"), meddler, still_there, images)


def check(report: dict[str, object], ledger: Ledger, meddler: Meddler, names: set[str], images: Path) -> None:
    """Whatever arrived was once a file, nothing arrived twice, and what is missing is named."""
    assert closes(report), report
    assert set(ledger.hashes) <= meddler.versions
    assert set(ledger.names.values()) == {1}
    assert ledger.names.total() == report["sent"], report
    named = {failure["path"] for failure in report["failures"]}  # type: ignore[attr-defined]  # JSON
    missing = {images / name.replace("__", "/") for name in names - set(ledger.names)}
    assert {str(path) for path in missing} <= named


def has_scanned(log: Path) -> bool:
    """Whether the command has told that its scan is over."""
    lines = read(log).splitlines(keepends=True) if log.exists() else []
    return any(json.loads(line).get("scan_finished") for line in lines if line.endswith("\n"))
