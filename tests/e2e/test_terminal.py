"""The real command on a real terminal: what is drawn, how it ends, and that the cursor always comes back."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SIZES = {"COLUMNS", "LINES"}  # they would be believed before the terminal is
SHOW, HIDE = b"\x1b[?25h", b"\x1b[?25l"


class Terminal:
    """A command whose standard error is a terminal of its own."""

    def __init__(self, folder: Path, *words: str, term: str = "xterm", columns: int = 80, lines: int = 24) -> None:
        self._screen, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        places = ["--emulator", "--emulator-dir", str(folder / "service"), "--state-dir", str(folder / "state")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rfbulk", *words, *places],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={name: value for name, value in os.environ.items() if name not in SIZES}
            | {"TERM": term, "NO_COLOR": "1"},
            cwd=Path(__file__).parents[2],
        )
        os.close(theirs)
        self.shown = b""

    def read(self) -> bool:
        """Read what was written. False once nobody writes any more."""
        try:
            self.shown += (piece := os.read(self._screen, 65536))
        except OSError:  # Linux says so where the other side is closed
            return False
        return bool(piece)

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text.encode() not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self.read(), f"{text!r} was never shown: {self.shown!r}"

    def ended(self) -> int:
        while self.read():
            pass
        os.close(self._screen)
        self.process.communicate(timeout=60)
        return self.process.returncode

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown.decode())


@pytest.fixture
def photos(tmp_path: Path) -> str:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(50_000) + b"\xff\xd9")
    (folder / "empty.jpg").touch()
    return str(folder)


def upload(photos: str, rate: str) -> list[str]:
    return ["upload", "images", photos, "--batch-id", "b", "--limit-rate", rate, "--shard-images", "5"]


def test_an_upload_is_drawn_and_wiped_away(tmp_path: Path, photos: str) -> None:
    terminal = Terminal(tmp_path, *upload(photos, "1MiB"))
    assert terminal.ended() == 3, terminal.text
    for text in ("sending", "images    ", "at once   ", "failures  1, empty ×1", "batch     b"):
        assert text in terminal.text
    assert terminal.shown.rfind(SHOW) > terminal.shown.rfind(HIDE) >= 0


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_is_never_overrun(columns: int, tmp_path: Path, photos: str) -> None:
    terminal = Terminal(tmp_path, *upload(photos, "2MiB"), columns=columns)
    assert terminal.ended() == 3, terminal.text
    lines = [line for line in re.split(r"[\r\n]+", terminal.text) if "warning" not in line]
    assert max(map(len, lines)) <= columns, lines


def test_a_second_interrupt_ends_at_once_and_gives_the_cursor_back(tmp_path: Path, photos: str) -> None:
    terminal = Terminal(tmp_path, *upload(photos, "64KiB"))
    terminal.until("at once")
    terminal.process.send_signal(signal.SIGINT)
    terminal.until("stopping: what is in flight may finish")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.ended() == 130, terminal.text
    assert terminal.shown.rfind(SHOW) > terminal.shown.rfind(HIDE) >= 0


def test_a_terminal_that_cannot_redraw_gets_no_codes(tmp_path: Path, photos: str) -> None:
    terminal = Terminal(tmp_path, *upload(photos, "4MiB"), "-v", term="dumb")
    assert terminal.ended() == 3, terminal.text
    assert b"\x1b" not in terminal.shown
    assert "empty: " in terminal.text
