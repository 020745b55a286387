"""The power fails behind any write of a checkpoint: what was acknowledged is there, and nothing is damaged.

A process makes changes and says each when it is acknowledged. What it wrote is replayed up to each single write, and
what had not been synced by then is kept, lost or torn.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rfbulk.edge.checkpoint import Identity, open_checkpoint
from rfbulk.errors import CheckpointDamaged
from tests.crash.commands import chance_of
from tests.support.powerloss import Disk, Mode
from tests.support.strace import Op, read_log, recording, why_no_strace

pytestmark = [pytest.mark.crash, pytest.mark.slow]
EVERY = int(os.environ.get("RFBULK_POWER_STRIDE", "3"))
"""Every so manieth write is one behind which the power fails; `make crash` takes each."""

IDENTITY = ("http://service", "workspace", "batch", ("/images",))
ROUNDS = 3
CHANGES = 12
PROGRAM = f"""
import asyncio, os, sys
from pathlib import Path
from rfbulk.core.model import Entry
from rfbulk.edge.checkpoint import Identity, open_checkpoint

async def change(checkpoint, first):
    for number in range(first, first + {CHANGES}):
        await checkpoint.record_fact("changes", str(number))
        os.write(1, b"fact %d\\n" % number)
        entries = tuple(Entry(0, b"%d-%d.jpg" % (number, n), f"{{number}}-{{n}}.jpg", 9, 9, n) for n in range(40))
        await checkpoint.plan_shards([(entries, 10240)])
        os.write(1, b"shard %d\\n" % number)

for round in range({ROUNDS}):  # each ends with the log written into the file
    with open_checkpoint(Path(sys.argv[1]), Identity(*{IDENTITY!r})) as checkpoint:
        asyncio.run(change(checkpoint, 1 + round * {CHANGES}))
"""


@pytest.fixture(scope="module")
def ops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Op]]:
    """What the process did to the folder of its checkpoint."""
    if why := why_no_strace():
        pytest.skip(f"the power cannot be made to fail: {why}")
    folder = tmp_path_factory.mktemp("recorded")
    log = folder / "log"
    program = [*recording(log), sys.executable, "-c", PROGRAM, str(folder / "state")]
    subprocess.run(program, check=True, timeout=60, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": "."})
    return folder / "state", read_log(log, [folder / "state"])


def test_the_record_is_complete(ops: tuple[Path, list[Op]]) -> None:
    """Replayed as a whole, it makes the files that the process left."""
    state, done = ops
    disk = Disk()
    disk.apply(done)
    left = {str(path): path.read_bytes() for kind in ("*.sqlite*", "*.seal") for path in state.rglob(kind)}
    assert left == {path: bytes(file.content) for path, file in disk.names.items()}
    assert sum(op.call == "write" for op in done) > ROUNDS * CHANGES * 4
    assert sum(op.call == "say" for op in done) == ROUNDS * CHANGES * 2


@pytest.mark.parametrize("mode", ["kept", "lost", "torn"])
def test_what_was_acknowledged_survives_a_power_failure_behind_any_write(
    ops: tuple[Path, list[Op]], mode: Mode, tmp_path: Path
) -> None:
    state, done = ops
    disk, said, tried = Disk(), {"fact": 0, "shard": 0}, 0
    for number, op in enumerate(done):
        disk.apply([op])
        if op.call == "say":
            for line in op.data.decode().split("\n")[:-1]:
                said[line.split()[0]] = int(line.split()[1])
        elif number % EVERY == 0:
            disk.write_to(state, tmp_path / str(number), mode, chance_of(number))
            has_acknowledged(tmp_path / str(number), said)
            tried += 1
    assert tried >= 10
    assert said == {"fact": ROUNDS * CHANGES, "shard": ROUNDS * CHANGES}


def has_acknowledged(folder: Path, said: dict[str, int]) -> None:
    """Open what is left as a resumed upload does. A change that was not acknowledged may be there, whole."""
    with open_checkpoint(folder, Identity(*IDENTITY)) as checkpoint, closing(checkpoint.read()) as db:
        found = db.execute("SELECT value FROM facts WHERE name = 'changes'").fetchone()
        shards = db.execute("SELECT count(*) FROM shards").fetchone()[0]
        members = db.execute("SELECT count(*) FROM members").fetchone()[0]
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert said["fact"] <= int(found[0] if found else 0) <= said["fact"] + 1
    assert said["shard"] <= shards <= said["shard"] + 1
    assert members == shards


def test_a_disk_that_lies_about_syncs_is_found_out(ops: tuple[Path, list[Op]], tmp_path: Path) -> None:
    """The replay can fail: where syncs do nothing, acknowledged changes are lost, and that is seen."""
    state, done = ops
    disk = Disk()
    disk.apply(op for op in done if op.call not in {"sync", "sync-folder"})
    disk.write_to(state, tmp_path / "lost", "lost", random.Random(1))
    with pytest.raises((AssertionError, sqlite3.Error, CheckpointDamaged)):
        has_acknowledged(tmp_path / "lost", {"fact": ROUNDS * CHANGES, "shard": ROUNDS * CHANGES})
