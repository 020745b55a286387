from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import orjson
import pytest
from msgspec.structs import replace

from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.report import MAX_NAMED, Failure, UploadReport
from rfbulk.core.transfer import ShardState
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint
from rfbulk.edge.reportfile import FATES, NamedFiles, summary_of, write_report_file
from rfbulk.errors import NoRoom, UsageError
from rfbulk.events import FileNamed, Warned

pytestmark = pytest.mark.anyio
Naming = Callable[[list[Failure]], NamedFiles]

ROOTS = (b"/photos", b"/more")
REPORT = UploadReport(batch_id="spring", planned=3, sent=2, failed=1, retries={"store 503": 4}, skipped_examples=["x"])


def entry(number: int, root: int = 0) -> Entry:
    return Entry(root, b"d/%d.jpg" % number, f"d__{number}.jpg", 10 + number, 1, number)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Checkpoint]:
    with open_checkpoint(tmp_path / "state", Identity("https://api", "w", "spring", ("/photos",))) as found:
        yield found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "report.jsonl"


@pytest.fixture
def naming() -> Iterator[Naming]:
    """Name files as a run does."""
    with ExitStack() as stack:

        def name(failures: list[Failure]) -> NamedFiles:
            named = stack.enter_context(closing(NamedFiles()))
            for failure in failures:
                named.take(FileNamed(failure))
            named.take(Warned("no file"))
            return named

        yield name


def names_beside(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir())


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


async def test_the_summary_stands_first_and_names_no_file(naming: Naming, checkpoint: Checkpoint, path: Path) -> None:
    report = replace(REPORT, failures=[Failure("/photos/a.jpg", "", RefusalReason.EMPTY)])
    await write_report_file(path, checkpoint, ROOTS, report, naming([]))
    summary = lines_of(path)[0]["summary"]
    assert summary == orjson.loads(orjson.dumps(summary_of(report)))
    assert tuple(summary[name] for name in ("planned", "sent", "failed", "retries")) == (3, 2, 1, {"store 503": 4})
    assert not {"failures", "skipped_examples"} & set(summary)


async def test_every_image_is_named_with_its_file_and_its_fate(
    naming: Naming, checkpoint: Checkpoint, path: Path
) -> None:
    states = list(FATES)
    await checkpoint.plan_shards([((entry(number, number % 2),), 1) for number in range(len(states))])
    for shard, state in zip(await checkpoint.pending_after(0, 99), states, strict=True):
        await checkpoint.update(replace(shard, state=state))
    await write_report_file(path, checkpoint, ROOTS, REPORT, naming([]))
    expected = [
        {
            "path": f"/{'more' if number % 2 else 'photos'}/d/{number}.jpg",
            "name": f"d__{number}.jpg",
            "bytes": 10 + number,
            "shard": number + 1,
            "fate": FATES[state],
        }
        for number, state in enumerate(states)
    ]
    assert expected == lines_of(path)[1:]


async def test_a_split_shard_is_named_by_its_parts_alone(naming: Naming, checkpoint: Checkpoint, path: Path) -> None:
    await checkpoint.plan_shards([((entry(1), entry(2)), 1)])
    [shard] = await checkpoint.pending_after(0, 9)
    await checkpoint.split(replace(shard, state=ShardState.SPLIT), [((entry(1),), 1), ((entry(2),), 1)])
    await write_report_file(path, checkpoint, ROOTS, REPORT, naming([]))
    assert [(line["name"], line["shard"]) for line in lines_of(path)[1:]] == [("d__1.jpg", 2), ("d__2.jpg", 3)]


async def test_each_failure_has_one_line_however_many_there_are(
    naming: Naming, checkpoint: Checkpoint, path: Path
) -> None:
    """A report in memory names the first thousand; the file is where the others are looked for."""
    entries = tuple(entry(number) for number in range(MAX_NAMED + 100))
    await checkpoint.plan_shards([(entries, 1)])
    [shard] = await checkpoint.pending_after(0, 9)
    lost = [(one, RefusalReason.NOT_LISTED, "absent") for one in entries[1:]]
    await checkpoint.fail_entries(replace(shard, state=ShardState.INDEXED), lost)
    named = [Failure(f"/photos/d/{n}.jpg", f"d__{n}.jpg", RefusalReason.NOT_LISTED, "absent") for n in range(1, 1001)]
    await write_report_file(path, checkpoint, ROOTS, REPORT, naming(named))
    fates = [(line["name"], line["fate"]) for line in lines_of(path)[1:]]
    expected = [("d__0.jpg", "indexed"), *((one.name, "not-listed") for one in entries[1:])]
    assert sorted(expected) == sorted(fates)


async def test_what_the_scan_refused_is_named_too(naming: Naming, checkpoint: Checkpoint, path: Path) -> None:
    failures = [Failure("/photos/empty.jpg", "", RefusalReason.EMPTY, "no bytes")]
    await write_report_file(path, checkpoint, ROOTS, REPORT, naming(failures))
    expected = {"path": "/photos/empty.jpg", "name": "", "fate": "empty", "why": "no bytes"}
    assert [expected] == lines_of(path)[1:]


async def test_a_path_that_is_no_text_is_escaped(naming: Naming, checkpoint: Checkpoint, path: Path) -> None:
    await checkpoint.plan_shards([((replace(entry(1), path=b"\xff.jpg"),), 1)])
    await write_report_file(path, checkpoint, ROOTS, REPORT, naming([]))
    assert lines_of(path)[1]["path"] == "/photos/\\xff.jpg"


async def test_an_earlier_report_is_replaced_whole(
    naming: Naming, checkpoint: Checkpoint, path: Path, earlier: bytes
) -> None:
    await write_report_file(path, checkpoint, ROOTS, REPORT, naming([]))
    assert len(lines_of(path)) == 1
    assert [path.name] == names_beside(path)


@pytest.mark.parametrize("name", ["absent/report.jsonl", "folder"])
async def test_a_place_that_cannot_be_written_is_told(
    naming: Naming, checkpoint: Checkpoint, path: Path, folder: Path, name: str
) -> None:
    with pytest.raises(UsageError, match=rf"write .*{name}: .* \(name another --report\)"):
        await write_report_file(path.parent / name, checkpoint, ROOTS, REPORT, naming([]))
    assert [folder.name] == names_beside(path)


@pytest.fixture
def folder(path: Path) -> Path:
    """A folder where the report should be."""
    found = path.parent / "folder"
    found.mkdir()
    return found


@pytest.fixture
def earlier(path: Path) -> bytes:
    path.write_bytes(b"the last report")
    return b"the last report"


@pytest.fixture
def full_disk(path: Path) -> None:
    """Let what is written go where there is no room."""
    path.with_name(f".{path.name}.{os.getpid()}.part").symlink_to("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
async def test_a_full_disk_is_told(
    naming: Naming, checkpoint: Checkpoint, path: Path, earlier: bytes, full_disk: None
) -> None:
    await checkpoint.plan_shards([(tuple(entry(number) for number in range(500)), 1)])
    with pytest.raises(NoRoom, match="make room"):
        await write_report_file(path, checkpoint, ROOTS, REPORT, naming([]))
    assert [path.name] == names_beside(path)
    assert earlier == await anyio.Path(path).read_bytes()


async def test_a_cancelled_report_leaves_nothing_half_written(
    naming: Naming, checkpoint: Checkpoint, path: Path, earlier: bytes
) -> None:
    await checkpoint.plan_shards([(tuple(entry(number) for number in range(500)), 1)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_report_file, path, checkpoint, ROOTS, REPORT, naming([]))
        while len(names_beside(path)) == 1:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert [path.name] == names_beside(path)
    assert earlier == await anyio.Path(path).read_bytes()
