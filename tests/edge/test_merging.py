"""Results merged in a stream: every row once, with its source, and what is malformed by its file and line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfbulk.core.export_report import BadLine, Merged
from rfbulk.edge.merging import MAX_ROW_BYTES, MergeStopped, _fields, merge_results
from rfbulk.errors import UsageError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def merge(target: Path, files: dict[str, bytes], into: str, *, stopped: bool = False) -> tuple[Merged, bytes]:
    """Merge files of these contents, and return what was written."""
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    out = target.parent / into
    merged = merge_results(bytes(target), lambda: list(files), out, is_stopped=lambda: stopped)
    return merged, out.read_bytes() if out.exists() else b""


# lines of JSON


def test_lines_are_kept_byte_by_byte_and_say_where_they_are_from(target: Path) -> None:
    files = {
        "a.jsonl": b'{"n": 1.50, "big": 123456789012345678901234567890}\n{}\n',
        "part/b.jsonl": b'{"n":NaN}\r\n\n  {"n":"\xc3\xa9"}  ',
    }
    merged, text = merge(target, files, "all.jsonl")
    assert text == (
        b'{"n": 1.50, "big": 123456789012345678901234567890,"source_file":"a.jsonl"}\n'
        b'{"source_file":"a.jsonl"}\n'
        b'{"n":NaN,"source_file":"part/b.jsonl"}\n'
        b'{"n":"\xc3\xa9","source_file":"part/b.jsonl"}\n'
    )
    assert (merged.files, merged.rows, merged.bad) == (2, 4, 0)


def test_a_source_that_a_line_has_already_is_kept(target: Path) -> None:
    _, text = merge(target, {"a.jsonl": b'{"source_file":"mine"}\n'}, "all.jsonl")
    assert text == b'{"source_file":"mine"}\n'


def test_malformed_lines_are_named_by_file_and_line_and_the_rest_is_merged(target: Path) -> None:
    content = b'\xef\xbb\xbf{"n":1}\nnonsense\n[1]\n{"n":2\n{"n":3}\n"text"\n{"n":"\xff"}\n'
    merged, text = merge(target, {"a.jsonl": content}, "all.jsonl")
    assert [json.loads(line)["n"] for line in text.splitlines()] == [1, 3]
    assert merged.bad_lines == [
        BadLine("a.jsonl", 2, "it is no JSON"),
        BadLine("a.jsonl", 3, "it is no JSON object"),
        BadLine("a.jsonl", 4, "it is no JSON"),
        BadLine("a.jsonl", 6, "it is no JSON object"),
        BadLine("a.jsonl", 7, "it is no JSON"),
    ]


def test_a_line_too_long_to_hold_is_named_and_the_next_is_merged(target: Path) -> None:
    content = b'{"n":"%s"}\n{"n":2}\n' % (b"x" * (MAX_ROW_BYTES + 100))
    merged, text = merge(target, {"a.jsonl": content}, "all.jsonl")
    assert text == b'{"n":2,"source_file":"a.jsonl"}\n'
    assert [(bad.line, merged.rows) for bad in merged.bad_lines] == [(1, 1)]


# tables


def test_tables_of_the_same_columns_are_put_one_below_the_other(target: Path) -> None:
    files = {"a.csv": b"image,label\r\n1.jpg,cat\r\n", "b.csv": b'image,label\n2.jpg,"a, ""b""\nc"\n\n'}
    merged, text = merge(target, files, "all.csv")
    assert text == b'image,label,source_file\n1.jpg,cat,a.csv\n2.jpg,"a, ""b""\nc",b.csv\n'
    assert (merged.files, merged.rows, merged.bad) == (2, 2, 0)


def test_columns_that_differ_become_their_union(target: Path) -> None:
    files = {
        "a.csv": b"image,label\n1.jpg,cat\n",
        "b.csv": b'score,"image"\n0.5,2.jpg\n',
        "c.csv": b"",
        "d.csv": b"x\n",
    }
    _, text = merge(target, files, "all.csv")
    assert list(csv.DictReader(io.StringIO(text.decode()))) == [
        {"image": "1.jpg", "label": "cat", "score": "", "x": "", "source_file": "a.csv"},
        {"image": "2.jpg", "label": "", "score": "0.5", "x": "", "source_file": "b.csv"},
    ]


def test_equal_columns_of_one_table_are_told_apart(target: Path) -> None:
    _, text = merge(target, {"a.csv": b"x,x\n1,2\n", "b.csv": b"x\n3\n"}, "all.csv")
    assert text == b"x,x,source_file\n1,2,a.csv\n3,,b.csv\n"


def test_rows_that_do_not_fit_their_header_are_named(target: Path) -> None:
    content = b'a,b\n1,2\n1,2,3\n"x"y,2\n"two\nlines",ok\n1\n3,4\n"open,5\n6,7\n'
    merged, text = merge(target, {"a.csv": content}, "all.csv")
    assert text == b'a,b,source_file\n1,2,a.csv\n"two\nlines",ok,a.csv\n3,4,a.csv\n'
    assert [(bad.line, bad.reason) for bad in merged.bad_lines] == [
        (3, "it has 3 fields, the header 2"),
        (4, "its quotes do not match"),
        (7, "it has 1 fields, the header 2"),
        (9, "its quotes do not match"),
    ]


def test_a_source_is_no_formula_and_a_column_of_its_name_is_kept(target: Path) -> None:
    _, text = merge(target, {"=x,1.csv": b"a\n1\n"}, "all.csv")
    assert text == b'a,source_file\n1,"\'=x,1.csv"\n'
    _, text = merge(target, {"b.csv": b"source_file\nmine\n"}, "all.csv")
    assert text == b"source_file\nmine\n"


def test_a_cell_of_a_megabyte_goes_through(target: Path) -> None:
    cell = b"x" * (1 << 20)
    merged, text = merge(target, {"a.csv": b'a,b\n"%b",1\n' % cell}, "all.csv")
    assert merged.rows == 1
    assert cell in text


CELLS = st.text(alphabet='ab,"\n é', max_size=6)


@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_a_writer_of_csv_writes_is_read_as_it_was_meant(rows: list[list[str]]) -> None:
    for row in rows:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="").writerow(row)
        fields = _fields(buffer.getvalue().encode())
        assert fields is not None
        assert next(csv.reader(io.StringIO(b",".join(fields).decode()))) == row or "\n" in "".join(row)
        assert len(fields) == 2


# both


def test_without_results_nothing_is_written(target: Path) -> None:
    merged, _ = merge(target, {}, "all.jsonl")
    assert merged.files == 0
    assert not (target.parent / "all.jsonl").exists()


def test_a_stop_leaves_nothing_half_written(target: Path) -> None:
    with pytest.raises(MergeStopped):
        merge(target, {"a.jsonl": b"{}\n"}, "all.jsonl", stopped=True)
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_file_that_vanished_is_said_by_its_name(target: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.jsonl"):
        merge_results(bytes(target), lambda: ["gone.jsonl"], target.parent / "all.jsonl", is_stopped=lambda: False)
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_only_the_first_thousand_bad_lines_are_named(target: Path) -> None:
    merged, _ = merge(target, {"a.jsonl": b"x\n" * 1500}, "all.jsonl")
    assert (merged.bad, len(merged.bad_lines)) == (1500, 1000)
