from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio.to_thread
import pytest

from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.transfer import ShardState
from rfbulk.edge.checkpoint import Identity, open_checkpoint
from rfbulk.edge.export_checkpoint import ExportIdentity, open_export_checkpoint
from rfbulk.edge.ingest_checkpoint import IngestIdentity, open_ingest_checkpoint
from rfbulk.edge.locks import FileLock, holder_of
from rfbulk.edge.overview import Overview, details, states_of_upload
from tests.support.planned import plan_now

IDENTITY = Identity("https://api.example.com", "work", "spring", ("/photos",))


def plan(folder: Path, shards: int, identity: Identity = IDENTITY) -> Path:
    """Leave an upload behind that has planned so many shards of one image."""
    with open_checkpoint(folder, identity) as checkpoint:
        plan_now(checkpoint, [((entry(number),), 1024) for number in range(shards)])
    return folder / f"{identity.id}.sqlite"


def entry(number: int) -> Entry:
    return Entry(0, b"%d.jpg" % number, f"{number}.jpg", 10, number, number)


def folders(root: Path) -> dict[str, Path]:
    return {"upload": root / "uploads", "ingest": root / "ingests", "export": root / "exports"}


def test_all_kinds_are_told_and_a_damaged_one_hides_no_other(tmp_path: Path) -> None:
    places = folders(tmp_path)
    plan(places["upload"], 3)
    with open_export_checkpoint(places["export"], ExportIdentity("https://a", "work", "results", "/here")):
        pass
    with open_ingest_checkpoint(places["ingest"], IngestIdentity("https://a", "work", "spring", "images", "x")):
        pass
    (places["upload"] / "broken-1.sqlite").write_bytes(b"not a checkpoint" * 100)
    found = Overview(places).read()
    assert sorted((one["kind"], one.get("batch"), "error" in one) for one in found if "error" not in one) == [
        ("export", "results", False),
        ("ingest", "spring", False),
        ("upload", "spring", False),
    ]
    assert [one["id"] for one in found if "error" in one] == ["broken-1"]
    assert {one["holder"] for one in found} == {""}


def test_no_folder_is_nothing_to_tell(tmp_path: Path) -> None:
    assert Overview(folders(tmp_path)).read() == []


def test_a_checkpoint_is_read_again_only_once_it_has_changed(tmp_path: Path) -> None:
    places = folders(tmp_path)
    path = plan(places["upload"], 3)
    overview = Overview(places, now=iter(range(1000)).__next__)
    first = overview.read()
    assert overview._known[path] is overview._read_one("upload", path)
    with open_checkpoint(places["upload"], IDENTITY) as checkpoint:
        plan_now(checkpoint, [((entry(9),), 1024)])
        for _ in range(20):
            overview._now()  # time goes by
        assert (first[0]["images_left"], overview.read()[0]["images_left"]) == (3, 4)
    assert overview.read()[0]["holder"] == ""


def test_a_checkpoint_that_is_slow_to_read_is_let_alone_for_a_while(tmp_path: Path) -> None:
    places = folders(tmp_path)
    path = plan(places["upload"], 3)
    times = [0.0]
    overview = Overview(places, now=lambda: times[0])
    overview.read()
    overview._known[path].seconds = 2.0
    os.utime(path, (1, 1))
    times[0] = 19.0
    before = overview._known[path]
    overview.read()
    assert overview._known[path] is before
    times[0] = 21.0
    overview.read()
    assert overview._known[path] is not before


def test_looking_neither_locks_nor_changes(tmp_path: Path) -> None:
    places = folders(tmp_path)
    path = plan(places["upload"], 3)
    lock = FileLock(path.with_suffix(".lock"))
    overview = Overview(places)
    lock.acquire()
    assert overview.read()[0]["holder"].startswith(f"process {os.getpid()} on ")
    lock.release()
    assert overview.read()[0]["holder"] == ""
    content = path.read_bytes()
    overview.read()
    assert content == path.read_bytes()


def test_a_holder_that_died_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from rfbulk.edge.locks import FileLock\n"
        "FileLock(Path(sys.argv[1])).acquire(); os._exit(9)"
    )
    lock = tmp_path / "x.lock"
    subprocess.run([sys.executable, "-c", code, str(lock)], check=False, timeout=20)
    assert lock.read_text().startswith("process ")
    assert holder_of(lock) == ""


@pytest.mark.parametrize("text", ["", "process", "process x on here", "process 1 on elsewhere.example", "\xff" * 400])
def test_what_names_no_process_of_this_machine_is_no_holder(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(text)
    assert holder_of(lock) == ""
    assert holder_of(tmp_path / "none.lock") == ""


@pytest.mark.anyio
async def test_details_tell_the_map_and_the_failures(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    path = await anyio.to_thread.run_sync(plan, folder, 40)
    manager = open_checkpoint(folder, IDENTITY)
    checkpoint = await anyio.to_thread.run_sync(manager.__enter__)
    try:
        shard = await checkpoint.shard(7)
        failed = [(shard.entries[0], RefusalReason.REFUSED_BY_SERVICE, "too blue")]
        await checkpoint.fail_entries(shard, failed)
        states = await anyio.to_thread.run_sync(states_of_upload, folder, "spring")
        found = await anyio.to_thread.run_sync(details, "upload", path, 16)
    finally:
        await anyio.to_thread.run_sync(manager.__exit__, None, None, None)
    assert (found["shards"], found["per_cell"], len(found["cells"])) == (40, 4, 10)
    assert {("planned", 4)} == {(state, count) for _, state, count in found["cells"]}
    assert found["reasons"] == {"refused-by-service": 1}
    assert found["files"] == [{"path": "/photos/6.jpg", "reason": "refused-by-service", "detail": "too blue"}]
    assert {ShardState.PLANNED} == set(states.values())
    assert await anyio.to_thread.run_sync(states_of_upload, folder, "spring") == {}


def test_details_of_each_kind_can_be_read_when_they_are_empty(tmp_path: Path) -> None:
    places = folders(tmp_path)
    with open_export_checkpoint(places["export"], ExportIdentity("https://a", "work", "results", "/here")):
        pass
    with open_ingest_checkpoint(places["ingest"], IngestIdentity("https://a", "work", "spring", "images", "x")):
        pass
    for kind in ("export", "ingest"):
        (path,) = places[kind].glob("*.sqlite")
        found = details(kind, path, 16)
        assert (found["cells"], found["reasons"], found["files"]) == ([], {}, [])
    (tmp_path / "broken.sqlite").write_bytes(b"x" * 4096)
    assert "error" in details("upload", tmp_path / "broken.sqlite", 16)
