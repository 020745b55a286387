"""Files of strangers on a real disk: lists of references, lists of paths, results that are merged."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given

from rfbulk.core.selection import Selection
from rfbulk.edge.merging import merge_results
from rfbulk.edge.path_list import PathList
from rfbulk.edge.reference_file import open_reference_file
from rfbulk.edge.source import open_source
from rfbulk.errors import SourceError, UsageError
from tests.fuzz.budget import profile
from tests.fuzz.spoiling import foreign
from tests.support.world import MEMORY

pytestmark = pytest.mark.slow
ROWS = (b'{"image": "a.jpg", "n": 1}\n{"image": "b.jpg", "n": [1, {}]}\n\n{"n": NaN}\n',)
TABLES = (b'image,n\na.jpg,1\n"b,""c"".jpg",2\n', b'\xef\xbb\xbfn,n,image\r\n1,2,"two\nlines"\r\n')
REFERENCES = (
    b'{"name": "a.jpg", "url": "https://x.example/a?sig=s"}\n{"name": "b.jpg", "url": "https://x.example/b"}\n',
)
PATHS = (b"a.jpg\nsub/b.jpg\n../c.jpg\n", b"a.jpg\0/etc/passwd\0", b"\xff\xfe.jpg\r\n./a.jpg\n//a.jpg\n")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as text:
        yield Path(text)


def test_every_line_of_results_is_merged_or_named(folder: Path) -> None:
    (folder / "in").mkdir()

    @profile()
    @given(foreign(ROWS, is_json=False))
    def try_one(data: bytes) -> None:
        (folder / "in" / "rows.jsonl").write_bytes(data)
        merged = merge_results(
            bytes(folder / "in"), lambda: ["rows.jsonl"], folder / "all.jsonl", is_stopped=lambda: False
        )
        lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert merged.rows + merged.bad == sum(1 for line in lines if line.strip())
        written = (folder / "all.jsonl").read_bytes().splitlines() if merged.files else []
        assert merged.rows == len([line for line in written if b"source_file" in line])

    try_one()


def test_every_record_of_a_table_is_merged_or_named(folder: Path) -> None:
    (folder / "in").mkdir()

    @profile()
    @given(foreign(TABLES, is_json=False), foreign(TABLES, is_json=False))
    def try_one(first: bytes, second: bytes) -> None:
        for name, data in (("a.csv", first), ("b.csv", second)):
            (folder / "in" / name).write_bytes(data)
        merged = merge_results(
            bytes(folder / "in"), lambda: ["a.csv", "b.csv"], folder / "all.csv", is_stopped=lambda: False
        )
        assert merged.files == 2 or not merged.rows

    try_one()


def test_a_list_of_references_is_taken_whole_or_refused_by_line(folder: Path) -> None:
    @profile()
    @given(foreign(REFERENCES, is_json=False))
    def try_one(data: bytes) -> None:
        path = folder / "list.jsonl"
        path.write_bytes(data)
        try:
            references = open_reference_file(path)
        except UsageError as refused:
            text = str(refused)
            assert "line " in text or "no reference" in text
            assert "sig=s" not in text
            return
        found = [reference for group in references.scan() for reference in group.references]
        assert len({reference.name for reference in found}) == len(found) > 0
        assert all(url.startswith("https://") for url in references.urls_of(found))

    try_one()


def test_a_list_of_paths_gives_each_file_once_or_names_it(folder: Path) -> None:
    for name in ("work/a.jpg", "work/sub/b.jpg", "c.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")

    @profile()
    @given(foreign(PATHS, is_json=False))
    def try_one(data: bytes) -> None:
        (folder / "list").write_bytes(data)
        try:
            groups = list(open_source([PathList(folder / "list", base=folder / "work")], Selection(), "auto").scan())
        except SourceError:
            return
        entries = [entry for group in groups for entry in group.entries]
        assert len({entry.name for entry in entries}) == len(entries)
        assert orjson.dumps([entry.name for entry in entries])

    try_one()
