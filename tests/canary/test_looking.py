"""The search finds what is planted: a canary that nobody hears is none."""

from __future__ import annotations

import base64
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.canary.looking import Canaries, Processes, all_text_of, spellings

SECRET = "cana/ry+9f2c41=d7 e6b05a38"


@pytest.fixture
def canaries() -> Canaries:
    found = Canaries()
    found.add("key", SECRET)
    return found


@pytest.mark.parametrize("around", range(7))
@pytest.mark.parametrize(
    "coded",
    [
        lambda raw: raw,
        lambda raw: quote(raw.decode(), safe="").encode(),
        lambda raw: quote(raw.decode()).encode(),
        lambda raw: raw.hex().encode(),
        base64.b64encode,
        base64.urlsafe_b64encode,
        lambda raw: raw.decode().encode("utf-16-le"),
    ],
    ids=["raw", "percent", "path", "hex", "base64", "urlsafe", "utf-16"],
)
def test_a_secret_is_found_however_it_is_spelled(canaries: Canaries, coded: object, around: int) -> None:
    """Base64 of something longer that has the secret in it, at every offset, too."""
    assert callable(coded)
    whole = coded(b"-" * around + SECRET.encode() + b"=" * (around % 3))
    assert canaries.within(b"some " + whole + b" text") == {"key"}


def test_other_bytes_are_not_taken_for_it(canaries: Canaries) -> None:
    assert canaries.within(b"nothing of the kind " + SECRET[:7].encode()) == set()
    assert all(len(each) >= 8 for each in spellings("short-one"))


def test_what_was_deleted_from_a_database_is_found(canaries: Canaries, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("CREATE TABLE urls (url TEXT)")
        db.execute("INSERT INTO urls VALUES (?)", (SECRET,))
        db.commit()
        db.execute("DELETE FROM urls")
        db.commit()
    assert canaries.look_into(tmp_path) == {"a.sqlite": {"key"}}
    assert canaries.look_into(tmp_path, except_for=[".sqlite"]) == {}


def test_half_of_a_signature_is_found(canaries: Canaries) -> None:
    signature = "0123456789abcdef" * 4
    canaries.add_signature_of(f"https://store/o?X-Goog-Signature={signature}&x=1")
    assert canaries.within(b"... " + signature[:40].encode()) == {"signature 0123"}
    assert canaries.within(b"... " + signature[32:].encode()) == {"signature 0123"}


def test_what_an_exception_came_from_is_looked_at(canaries: Canaries) -> None:
    def fail() -> None:
        try:
            try:
                int(SECRET)
            except ValueError:
                os.environ["NO_SUCH_VARIABLE"]
        except KeyError as error:
            raise RuntimeError("c") from error

    with pytest.raises(RuntimeError) as raised:
        fail()
    assert canaries.within(str(raised.value).encode()) == set()
    assert canaries.within(all_text_of(raised.value)) == {"key"}


def test_what_a_child_is_given_is_looked_at(canaries: Canaries) -> None:
    """As the parent of a command would see it: its arguments, and what its children inherit."""
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], env={'A': sys.argv[1]})"
    with subprocess.Popen([sys.executable, "-c", nested, SECRET], stdin=subprocess.PIPE) as running:
        processes = Processes()
        while not processes.environments:
            processes.look_at(running.pid)
        assert running.stdin is not None
        running.stdin.close()
        while not any(map(canaries.within, processes.environments)) and running.poll() is None:
            processes.look_at(running.pid)
    assert any(map(canaries.within, processes.command_lines))
    assert any(map(canaries.within, processes.environments))
