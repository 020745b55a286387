"""An export's report in words: what became of it, what is worth knowing, and nothing that commands a terminal."""

from __future__ import annotations

import pytest

from rfbulk.cli.export import exit_code_of_export
from rfbulk.cli.export_printing import print_export_report
from rfbulk.cli.options import ExitCode
from rfbulk.cli.printing import MAX_NAMED_ON_SCREEN
from rfbulk.core.export_report import BadLine, ExportFailure, ExportReport, KeptApart, Merged, RefusedMember
from rfbulk.core.exporting import FailReason

EVIL = "a\x1b[2J.jpg"


def report(**values: object) -> ExportReport:
    made = {"batch_id": "spring", "target": "/home/me/spring", "listed": 10, "fetched": 10, "files": 12, "bytes": 2048}
    return ExportReport(**(made | values))  # type: ignore[arg-type]  # each test's own


def printed(made: ExportReport, capsys: pytest.CaptureFixture[str]) -> str:
    print_export_report(made)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    return out


def test_a_plain_export_is_told_in_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(report(bytes_received=4096, wall_seconds=2.0), capsys)
    assert out == (
        "batch spring: 12 files in /home/me/spring\n"
        "  listed 10 = fetched 10 + already here 0 + failed 0 + left 0\n"
        "  2.0 KiB here, 4.0 KiB received in 2.0 s, 2.0 KiB/s\n"
    )


def test_all_that_is_worth_knowing_is_told_and_tamed(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(
        report(
            already_here=4,
            restored=2,
            changed_here=1,
            restored_files=[EVIL, "b.jpg"],
            unverified=1,
            unverified_files=[EVIL],
            kept_apart=1,
            kept_apart_files=[KeptApart("", EVIL, "b~2.jpg")],
            refused_members=1,
            refused_member_files=[RefusedMember("", "x.tar", EVIL, "a link")],
            retries={"store 503": 2},
            merged=Merged(path="all.csv", files=2, rows=5, bad=1, bad_lines=[BadLine(EVIL, 3, "no JSON")]),
            manifest="/home/me/spring/spring.manifest.jsonl",
            left=1,
        ),
        capsys,
    )
    for text in (
        "(4 by earlier runs)",
        "2 files restored, 1 of them changed here and overwritten: a\\x1b[2J.jpg, b.jpg",
        "1 file unverified",
        "1 file kept apart, another has the name: a\\x1b[2J.jpg → b~2.jpg",
        "1 member of archives left out: x.tar: a\\x1b[2J.jpg (a link)",
        "tried again: store 503 ×2",
        "5 rows of 2 results files merged into all.csv",
        "1 line could not be merged: a\\x1b[2J.jpg:3 (no JSON)",
        "where each is from: /home/me/spring/spring.manifest.jsonl",
        "run the same again to fetch what is left",
    ):
        assert text in out


def test_failures_are_named_and_the_rest_is_where_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    failures = [ExportFailure("crops", "s-1", f"{n}.jpg", FailReason.GONE, "404") for n in range(30)]
    out = printed(report(failed=30, failures=failures), capsys)
    assert "  gone  crops/s-1/0.jpg: 404\n" in out
    assert out.count("gone") == MAX_NAMED_ON_SCREEN
    assert "… 10 more; --report FILE.jsonl names them all" in out


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({}, ExitCode.DONE),
        ({"kept_apart": 1, "unverified": 1, "restored": 1}, ExitCode.DONE),
        ({"failed": 1}, ExitCode.SOME_FAILED),
        ({"refused_members": 1}, ExitCode.SOME_FAILED),
        ({"merged": Merged(path="x.csv", bad=1)}, ExitCode.SOME_FAILED),
        ({"failed": 1, "left": 1}, ExitCode.AGAIN),
    ],
)
def test_the_exit_code_tells_what_to_do(values: dict[str, object], code: ExitCode) -> None:
    assert exit_code_of_export(report(**values)) is code
