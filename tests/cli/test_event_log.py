"""The log file: every event, whole lines whatever happens, files that are rotated, transfers that never suffer."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from rfbulk import events
from rfbulk.cli.event_log import SCHEMA, LogOptions, open_log
from rfbulk.cli.options import Globals
from rfbulk.cli.progress import progress_printer
from rfbulk.errors import UsageError
from rfbulk.events import Event, FilesFetched, PhaseChanged, Warned
from tests.support.events import EXAMPLES


def never(text: str) -> None:
    raise AssertionError(text)


def logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def names(path: Path) -> list[str]:
    return [line["event"] for line in logged(path)]


def test_there_is_an_example_of_every_event() -> None:
    assert set(get_args(events.Event)) == {type(event) for event in EXAMPLES}


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_every_event_is_a_line_with_all_its_fields(event: Event, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(LogOptions(path), never) as log:
        log.take(event)
        lines = logged(path)
    assert [line["event"] for line in lines] == ["LogBegun", type(event).__name__], "it is there at once"
    assert {"schema", "time", "monotonic", "event", *event.__struct_fields__} == set(lines[-1])
    assert lines[-1]["schema"] == SCHEMA
    assert names(path)[-1] == "LogEnded"


def test_a_line_has_both_times(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(LogOptions(path), never) as log:
        log.take(PhaseChanged("sending"))
        line = logged(path)[-1]
    told = datetime.fromisoformat(line["time"])
    assert line["time"].endswith("Z")
    assert abs(told - datetime.now(UTC)) < timedelta(seconds=60)
    assert 0 <= time.monotonic() - line["monotonic"] < 60


def test_what_no_text_may_hold_is_logged_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(LogOptions(path), never) as log:
        log.take(Warned("half \ud800 a pair"))
        assert logged(path)[-1]["text"] == "half \ud800 a pair"


def test_a_torn_line_of_a_killed_process_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"event":"Earlier"}\n{"event":"To')
    with open_log(LogOptions(path), never) as log:
        log.take(PhaseChanged("done"))
    lines = path.read_bytes().splitlines()
    assert lines[:2] == [b'{"event":"Earlier"}', b'{"event":"To']
    assert [json.loads(line)["event"] for line in lines[2:]] == ["LogBegun", "PhaseChanged", "LogEnded"]


def test_files_are_rotated_by_size_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(LogOptions(path, file_bytes=1000, kept=3), never) as log:
        for number in range(100):
            log.take(FilesFetched(number, 0))
    files = [path, *(tmp_path / f"log.jsonl.{number}" for number in (1, 2, 3))]
    assert set(files) == set(tmp_path.iterdir())
    assert max(file.stat().st_size for file in files) <= 1000 + 100, "the last line of all may be beyond"
    told = [line["files"] for file in reversed(files) for line in logged(file) if line["event"] == "FilesFetched"]
    assert told == list(range(100 - len(told), 100)), "none is missing between them, and none is there twice"
    assert all(names(file)[0] == "LogBegun" for file in files)


def test_a_log_without_a_size_grows_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(LogOptions(path, file_bytes=0), never) as log:
        for number in range(100):
            log.take(FilesFetched(number, 0))
    assert [path] == list(tmp_path.iterdir())


def test_a_link_goes_on_pointing_at_the_log(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "log.jsonl"
    link.symlink_to(tmp_path / "real" / "log.jsonl")
    with open_log(LogOptions(link, file_bytes=300, kept=1), never) as log:
        for number in range(10):
            log.take(FilesFetched(number, 0))
    assert link.is_symlink()
    assert {"log.jsonl", "log.jsonl.1"} == {file.name for file in (tmp_path / "real").iterdir()}


def test_a_log_that_cannot_be_rotated_grows_on_and_is_told_once(tmp_path: Path) -> None:
    path, told = tmp_path / "log.jsonl", list[str]()
    (tmp_path / "log.jsonl.1").mkdir()
    (tmp_path / "log.jsonl.1" / "in the way").touch()
    with open_log(LogOptions(path, file_bytes=300, kept=1), told.append) as log:
        for number in range(10):
            log.take(FilesFetched(number, 0))
    assert [line["files"] for line in logged(path) if line["event"] == "FilesFetched"] == list(range(10))
    assert len(told) == 1
    assert "cannot be rotated" in told[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_printer(Globals(log_file=Path("/dev/full"))) as on_event:
        for event in EXAMPLES:
            on_event(event)
    errors = capsys.readouterr().err
    assert errors.count("/dev/full cannot be written: No space left on device; the transfer goes on without it") == 1


def test_a_disk_that_has_room_again_is_told_what_it_missed(tmp_path: Path) -> None:
    path, told = tmp_path / "log.jsonl", list[str]()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_log(LogOptions(path), told.append) as log:
        before = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (before + 150, hard))
        try:
            for number in range(5):
                log.take(FilesFetched(number, 0))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.stat().st_size == before + 150, "the second line was torn"
        log.take(FilesFetched(5, 0))
    lines = path.read_bytes().splitlines()
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(lines.pop(2))
    whole = [json.loads(line) for line in lines]
    assert [line["event"] for line in whole] == ["LogBegun", "FilesFetched", "LogGap", "FilesFetched", "LogEnded"]
    assert (whole[2]["lost"], whole[3]["files"], len(told)) == (4, 5, 1)


@pytest.mark.parametrize("name", ["no/where.jsonl", ""])
def test_a_log_file_that_cannot_be_opened_is_refused_before_anything_is_sent(name: str, tmp_path: Path) -> None:
    wanted = open_log(LogOptions(tmp_path / name), never)
    with pytest.raises(UsageError, match=r"open the log file .*\(name another --log-file\)"), wanted:
        pass


KILLED = """
import os, sys
from pathlib import Path
from rfbulk.cli.event_log import LogOptions, open_log
from rfbulk.events import FilesFetched
with open_log(LogOptions(Path(sys.argv[1]), file_bytes=5000, kept=9), print) as log:
    for number in range(200):
        log.take(FilesFetched(number, 0))
        os.write(1, b"%d\\n" % number)
        if number == 99:
            os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_every_event_that_it_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, path], check=False, capture_output=True, cwd=Path(__file__).parents[2]
    )
    assert (ended.returncode, len(ended.stdout.splitlines())) == (-signal.SIGKILL, 100), ended.stderr
    files = sorted(tmp_path.iterdir(), key=lambda file: -int(file.suffix[1:]) if file.suffix[1:].isdigit() else 0)
    told = [line["files"] for file in files for line in logged(file) if line["event"] == "FilesFetched"]
    assert told == list(range(100))


def test_two_processes_may_log_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(LogOptions(path), never) as one, open_log(LogOptions(path), never) as other:
        for number in range(50):
            one.take(FilesFetched(number, 1))
            other.take(FilesFetched(number, 2))
    lines = logged(path)
    for size in (1, 2):
        assert [line["files"] for line in lines if line.get("bytes") == size] == list(range(50))
    assert {os.getpid()} == {line["process"] for line in lines if line["event"] == "LogBegun"}
