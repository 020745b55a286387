"""The manifest and the report file: every file, its origin and its fate, and never a URL."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rfbulk.core.export_report import ExportReport
from rfbulk.core.exporting import FailReason, Listed, Presence
from rfbulk.core.fetching import Check, FetchKind, FetchOutcome, FetchResult, Fingerprint, Unpacked
from rfbulk.edge.export_checkpoint import ExportCheckpoint, ExportIdentity, open_export_checkpoint
from rfbulk.edge.export_files import files_on_disk, write_export_report_file, write_manifest
from rfbulk.errors import UsageError
from tests.support.world import MEMORY

IDENTITY = ExportIdentity("https://api.test", "workspace", "spring", "/target")


async def fill(checkpoint: ExportCheckpoint) -> None:
    """Two runs: of the first a file and an archive are here, of the second another file; one failed, one is left."""
    await checkpoint.begin_run()
    images, tables = await checkpoint.parts(["images", "tables"])
    await checkpoint.begin_parts([images, tables], overwrite=False)
    listed = [Listed("s-1", name, FetchKind.PLAIN) for name in ("a.jpg", "b.jpg", "lost.jpg", "left.jpg")]
    (a, b, lost, _), _ = await checkpoint.take_page(images, [*listed])
    await checkpoint.record_fetched([(a, result())])
    (archive,), _ = await checkpoint.take_page(tables, [Listed("", "x.tar", FetchKind.TAR)])
    members = (Unpacked("r.csv", "1/0", 5, 6), Unpacked("R.CSV", "1/1", 7, 8))
    planned = await checkpoint.plan_members(archive, result(members=members))
    await checkpoint.record_landed(archive, {member.number: Fingerprint(member.size, 1, 1) for member in planned})
    await checkpoint.begin_run()
    await checkpoint.restore([(b, Presence.DELETED)])
    await checkpoint.record_fetched([(b, result())])
    await checkpoint.record_failed([(lost, FailReason.GONE, "the store answered 404")])


def result(members: tuple[Unpacked, ...] = ()) -> FetchResult:
    mark = Fingerprint(3, 10, 2)
    return FetchResult(
        FetchOutcome.FETCHED, 3, size=3, crc32c=0xAB, check=Check.CRC32C, fingerprint=mark, members=members
    )


@pytest.fixture
def checkpoint() -> Iterator[ExportCheckpoint]:
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as text,
        open_export_checkpoint(Path(text), IDENTITY) as checkpoint,
    ):
        asyncio.run(fill(checkpoint))
        yield checkpoint


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_manifest_has_a_line_for_each_file_on_the_disk(checkpoint: ExportCheckpoint, tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", checkpoint, "spring")
    image = {"batch": "spring", "part": "images", "shard": "s-1", "size": 3, "crc32c": "000000ab", "checked": "crc32c"}
    member = {"batch": "spring", "part": "tables", "shard": None, "name": "x.tar", "checked": "crc32c"}
    assert lines_of(tmp_path / "m.jsonl") == [
        {"path": "images/a.jpg", "name": "a.jpg"} | image,
        {"path": "images/b.jpg", "name": "b.jpg"} | image,
        {"path": "tables/r.csv", "member": "r.csv", "size": 5, "crc32c": "00000006"} | member,
        {"path": "tables/R~2.CSV", "member": "R.CSV", "size": 7, "crc32c": "00000008"} | member,
    ]


def test_the_report_file_has_a_summary_and_every_remote_files_fate(
    checkpoint: ExportCheckpoint, tmp_path: Path
) -> None:
    report = ExportReport(batch_id="spring", target="/target", listed=5, unverified_files=["x"])
    write_export_report_file(tmp_path / "r.jsonl", checkpoint, report)
    first, *lines = lines_of(tmp_path / "r.jsonl")
    assert first["summary"]["listed"] == 5
    assert not {"failures", "unverified_files"} & set(first["summary"])
    fates = {line["name"]: (line["fate"], line.get("why"), line.get("restored")) for line in lines}
    assert fates == {
        "a.jpg": ("here", None, None),
        "b.jpg": ("fetched", "deleted", True),
        "lost.jpg": ("failed", "gone", None),
        "left.jpg": ("left", None, None),
        "x.tar": ("here", None, None),
    }


def test_files_on_the_disk_are_chosen_by_part_and_suffix_in_order(checkpoint: ExportCheckpoint) -> None:
    with closing(checkpoint.read()) as db:
        assert list(files_on_disk(db, ["tables"], ".csv")) == ["tables/r.csv", "tables/R~2.CSV"]
        assert list(files_on_disk(db, ["images"], ".csv")) == []
        assert list(files_on_disk(db, ["images", "tables"], ".jpg")) == ["images/a.jpg", "images/b.jpg"]
        assert list(files_on_disk(db, [], ".jpg")) == []


def test_a_place_that_cannot_be_written_is_said_in_words(checkpoint: ExportCheckpoint, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--manifest"):
        write_manifest(tmp_path / "none" / "m.jsonl", checkpoint, "spring")
