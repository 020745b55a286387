"""An emulator's folder: its keys and port, its objects, and the journal of everything that happened.

A process that is killed loses nothing it has answered for: each event reaches the system before its answer does.
Power loss is not provided for.
"""

from __future__ import annotations

import os
import secrets
from asyncio import get_running_loop
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from rfbulk.emulator.events import Event

if TYPE_CHECKING:
    from pathlib import Path

_EVENTS = msgspec.json.Decoder(Event)


class Identity(msgspec.Struct, frozen=True):
    """What must outlive a process so that the URLs it signed stay good."""

    secret: bytes
    bucket: str
    port: int = 0


def new_identity() -> Identity:
    """Make up a key and a bucket."""
    return Identity(secrets.token_bytes(32), f"emulator-{secrets.token_hex(4)}")


class Journal:
    """The durable form of a state. Opens, reads and writes files: `open` and `read` belong in a thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.objects = directory / "objects"
        self._file = -1
        # One thread keeps the events in the order in which they were given.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="emulator-journal")

    def open(self) -> tuple[Identity, list[Event]]:
        """Make the folder if need be; return who the emulator is and all that has happened so far."""
        self.objects.mkdir(parents=True, exist_ok=True)
        for abandoned in self.objects.glob("*.part"):
            abandoned.unlink()
        identity = self._read_identity()
        events = self._read_events()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(self._events_path, flags, 0o600)
        return identity, events

    def save_identity(self, identity: Identity) -> None:
        """Write the identity, whole."""
        partial = self._identity_path.with_suffix(".part")
        partial.write_bytes(msgspec.json.encode(identity))
        partial.chmod(0o600)
        partial.rename(self._identity_path)

    async def append(self, event: Event) -> None:
        """Make an event durable; the order of calls is the order of events."""
        line = msgspec.json.encode(event) + b"\n"
        await get_running_loop().run_in_executor(self._writer, self._write, line)

    def close(self) -> None:
        """Finish writing."""
        self._writer.shutdown()
        os.close(self._file)

    @property
    def _identity_path(self) -> Path:
        return self.directory / "identity.json"

    @property
    def _events_path(self) -> Path:
        return self.directory / "events.jsonl"

    def _read_identity(self) -> Identity:
        try:
            return msgspec.json.decode(self._identity_path.read_bytes(), type=Identity)
        except FileNotFoundError:
            identity = new_identity()
            self.save_identity(identity)
            return identity

    def _read_events(self) -> list[Event]:
        try:
            raw = self._events_path.read_bytes()
        except FileNotFoundError:
            return []
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):  # killed within a write: that event was never answered for
            os.truncate(self._events_path, whole)
        return [_EVENTS.decode(line) for line in raw[:whole].splitlines()]

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._file, rest) :]
