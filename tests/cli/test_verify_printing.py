"""What people read of an audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rfbulk.cli.verify_printing import ADVICE, ORDER, print_audit
from rfbulk.core.auditing import Books, Difference, DifferenceKind, VerifyReport

if TYPE_CHECKING:
    import pytest

EVIL = "a\x1b[31m.jpg"
TAMED = r"a\x1b[31m.jpg"


def printed(capsys: pytest.CaptureFixture[str], report: VerifyReport, file: Path | None = None) -> list[str]:
    print_audit(report, file)
    return capsys.readouterr().out.splitlines()


def report_of(*differences: Difference, books: Books | None = None) -> VerifyReport:
    books = books or Books()
    for each in differences:
        books.count(each)
    return VerifyReport(batch_id="b", checkpoints=("b-1",), books=books, differences=list(differences))


def test_every_kind_is_printed_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(DifferenceKind) == set(ORDER) >= set(ADVICE)
    lines = printed(capsys, report_of(*(Difference(kind, "n", "/p/n", "why") for kind in DifferenceKind)))
    assert f"batch b: {len(DifferenceKind)} differences" == lines[0]
    for kind in DifferenceKind:
        assert any(line.startswith(f"  1 {kind}") for line in lines)
    assert len(DifferenceKind) == sum(line == "    /p/n: why" for line in lines)


def test_foreign_names_do_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, report_of(Difference(DifferenceKind.UNKNOWN, EVIL, "", EVIL)))
    assert f"    {TAMED}: {TAMED}" in lines


def test_a_name_is_shown_where_the_path_does_not_end_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, report_of(Difference(DifferenceKind.LOST, "a__b.jpg", "/p/a/b.jpg")))
    assert "    /p/a/b.jpg (a__b.jpg)" in lines


def test_what_is_pending_may_still_come(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(Difference(DifferenceKind.LOST, "a.jpg"), books=Books(sent=1, lost=1))
    report.shards = {"pending": 2, "success": 5}
    assert "  2 shards not taken in yet: what is lost may still come" in printed(capsys, report)


def test_many_are_cut_off_and_the_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(*(Difference(DifferenceKind.NEW, f"{number}.jpg") for number in range(25)))
    lines = printed(capsys, report)
    assert lines[-2:] == ["    … 5 more", "  --report FILE.jsonl names them all"]
    assert printed(capsys, report, Path("d.jsonl"))[-1] == "  every difference: d.jsonl"


def test_books_that_do_not_close_are_called_a_defect(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(books=Books(sent=2, once=1))
    assert not report.agrees
    assert "  the books do not close: that is a defect of rfbulk" in printed(capsys, report)
