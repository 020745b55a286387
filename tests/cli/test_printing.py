from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.cli.printing import (
    MAX_NAMED_ON_SCREEN,
    duration,
    number,
    plain,
    print_json,
    print_preview,
    print_report,
    print_table,
    size,
)
from rfbulk.core.model import RefusalReason
from rfbulk.core.report import Failure, UploadReport
from rfbulk.pipeline.preview import Preview

EVIL = "a\x1b]0;owned\x07\n\u202e\udcff.jpg"
TAMED = "a\\x1b]0;owned\\x07\\n\\u202e\\udcff.jpg"


@given(st.text(st.characters()))
def test_foreign_text_is_printable_on_one_line(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(text) == text or not text.isprintable()


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert plain(EVIL) == TAMED
    assert plain("Größe 図 ok") == "Größe 図 ok"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1 << 20, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 40, "3.00 TiB"),
        (5000 << 40, "5000.00 TiB"),
    ],
)
def test_a_size_is_told_in_the_largest_unit_that_leaves_one(count: int, expected: str) -> None:
    assert expected == size(count)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (60, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (360_000, "100 h 0 min"),
    ],
)
def test_a_duration_is_told_as_one_looks_at_a_clock(seconds: float, expected: str) -> None:
    assert expected == duration(seconds)


@pytest.mark.parametrize(("count", "expected"), [(0, "0 images"), (1, "1 image"), (1024, "1,024 images")])
def test_a_count_goes_with_its_noun(count: int, expected: str) -> None:
    assert expected == number(count, "image")


def test_json_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "a\nb\x1b", "path": RefusalReason.EMPTY})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"name": "a\nb\x1b", "path": "empty"}


def test_a_table_is_as_wide_as_what_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["batch", "name"], [["spring", "\x1b[2J"], ["a", "b"]])
    assert capsys.readouterr().out == "batch   name\nspring  \\x1b[2J\na       b\n"
    print_table(["batch", "name"], [])
    assert capsys.readouterr().out == "batch  name\n"


def lines_of(capsys: pytest.CaptureFixture[str], report: UploadReport) -> list[str]:
    print_report(report)
    return capsys.readouterr().out.splitlines()


def test_a_good_report_is_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report = UploadReport(
        batch_id="spring",
        planned=1024,
        sent=1024,
        bytes_sent=10 << 20,
        shards_sent=3,
        wall_seconds=5.0,
        is_confirmed=True,
    )
    assert lines_of(capsys, report) == [
        "batch spring: 1,024 images stored and indexed by the service",
        "  planned 1,024 = sent 1,024 + quarantined 0 + failed 0 + left 0",
        "  10.0 MiB in 3 shards, 5.0 s, 2.0 MiB/s",
    ]


def test_a_resumed_report_tells_the_runs_apart_and_boasts_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    report = UploadReport(
        batch_id="spring", planned=9, sent=9, already_sent=6, bytes_sent=9000, shards_sent=1, wall_seconds=5.0
    )
    lines = lines_of(capsys, report)
    assert lines[0] == "batch spring: 9 images stored (6 by earlier runs, 3 now)"
    assert lines[2] == "  8.8 KiB in 1 shard, 5.0 s"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (UploadReport(batch_id="b", unverified_shards=2), "2 shards unverified: the store told no hash of them"),
        (UploadReport(batch_id="b", retries={"x\n": 1, "a": 2}), "tried again: a ×2, x\\n ×1"),
        (UploadReport(batch_id="b", unused_grants=1), "1 grant asked for and not used"),
        (
            UploadReport(batch_id="b", skipped=2, skipped_examples=["a\x1b.txt", "b.txt"]),
            "2 files skipped, no images by their names: a\\x1b.txt, b.txt",
        ),
        (
            UploadReport(batch_id="b", shards_unsure=1),
            "1 shard may or may not have arrived: --on-unsure verify decides them",
        ),
        (UploadReport(batch_id="b", extra=1024), "the service counts 1,024 more than was sent"),
        (UploadReport(batch_id="b", doubled=[EVIL]), f"1 name listed twice: {TAMED}"),
        (UploadReport(batch_id="b", ingest_failed=True), "the service failed to take shards in: it gives no reason"),
        (UploadReport(batch_id="b", ingest_failed=True, ingest_detail=EVIL), f"to take shards in: {TAMED}"),
        (UploadReport(batch_id="b", planned=1, left=1), "run the same again to send what is left"),
    ],
)
def test_whatever_is_not_as_it_should_be_has_its_line(
    capsys: pytest.CaptureFixture[str], report: UploadReport, expected: str
) -> None:
    lines = lines_of(capsys, report)
    assert len(lines) == 4
    assert lines[3].endswith(expected)


def test_failures_are_named_up_to_a_screenful_and_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    failures = [Failure(f"{EVIL}{count}", "", RefusalReason.UNREADABLE, "why\n") for count in range(25)]
    lines = lines_of(capsys, UploadReport(batch_id="b", planned=25, quarantined=25, failures=failures))
    assert lines[3] == f"  unreadable  {TAMED}0: why\\n"
    assert len(lines) == 3 + MAX_NAMED_ON_SCREEN + 1
    assert lines[-1] == "  … 5 more; --report FILE.jsonl names them all"
    assert lines_of(capsys, UploadReport(batch_id="b", refused=1, failures=failures[:1]))[-1] == lines[3]


def test_a_preview_shows_what_would_happen(capsys: pytest.CaptureFixture[str]) -> None:
    print_preview(
        Preview(
            images=1,
            bytes=1000,
            shards=1,
            tar_bytes=2048,
            renamed=1,
            renamed_examples=[(EVIL, "a.jpg")],
            refused={"too-large": 2, "empty": 1},
            refused_examples=[("big.png", "too-large", "30 MiB"), ("none.png", "empty", "")],
            skipped=3,
        )
    )
    assert capsys.readouterr().out.splitlines() == [
        "would send 1 image, 1000 B, in 1 shard of 2.0 KiB together",
        "  1 name made from paths:",
        f"    {TAMED} → a.jpg",
        "  3 files skipped, no images by their names",
        "  1 file refused: empty",
        "  2 files refused: too-large",
        "    too-large  big.png: 30 MiB",
        "    empty  none.png",
    ]


def test_a_preview_of_what_travels_alone_speaks_of_no_shards(capsys: pytest.CaptureFixture[str]) -> None:
    print_preview(Preview(content="videos", images=2, bytes=3000, shards=2, tar_bytes=3000))
    assert capsys.readouterr().out == "would send 2 videos, 2.9 KiB\n"
