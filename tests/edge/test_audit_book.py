"""The book gives back what was put in, by name, however little of it fits into memory."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfbulk.core.auditing import Books, Fate, Group, key_of
from rfbulk.core.model import Entry
from rfbulk.edge.audit_book import AuditBook, open_audit_book
from rfbulk.errors import CheckpointDamaged, NoRoom

NO_SOURCES: frozenset[int] = frozenset()
names = st.one_of(
    st.text(min_size=1, max_size=4),
    st.sampled_from(["a", "a.jpg", "a%~0123abcd.jpg", "a\nb", "a\0b", "ab", "a b"]),
)
paths = st.binary(min_size=1, max_size=6).filter(lambda path: b"\0" not in path)
whole = st.integers(0, 2**63 - 1)
entries = st.builds(Entry, st.integers(0, 3), paths, names, whole, st.integers(-(2**60), 2**63), whole)


def read(book: AuditBook, sources: frozenset[int] = frozenset({0, 1})) -> tuple[Books, list[Group]]:
    plain, groups = Books(), []
    for agreed, some in book.chunks(sources):
        plain.agree_as(agreed)
        groups += some
    return plain, groups


@settings(max_examples=60, deadline=None)
@given(
    found=st.lists(entries, max_size=12),
    sent=st.lists(st.tuples(entries, st.sampled_from(Fate)), max_size=12),
    listed=st.lists(names, max_size=12),
    run_bytes=st.sampled_from([1, 200, 1 << 20]),
)
def test_all_that_was_put_in_comes_out_by_name(
    found: list[Entry], sent: list[tuple[Entry, Fate]], listed: list[str], run_bytes: int
) -> None:
    with TemporaryDirectory() as folder, open_audit_book(Path(folder), run_bytes=run_bytes) as book:
        book.add_found(0, found)
        for entry, fate in sent:
            book.add_sent(1, fate, [entry])
        for name in listed:
            book.add_listed([name])
        book.add_named(1, [(entry.name, entry.root, entry.path, "why") for entry, _ in sent])
        plain, groups = read(book)
    told = Counter(name for group in groups for name, count in group.listed.items() for _ in range(count))
    assert Counter(_told(name) for name in listed).total() == told.total() + plain.listed
    assert Counter(map(_place, found)) >= Counter(
        (each.root, each.path, each.print) for group in groups for each in group.found
    )
    assert len(found) == sum(len(group.found) for group in groups) + plain.in_source
    back = Counter((each.fate, each.root, each.path, each.print) for group in groups for each in group.sent)
    assert back <= Counter((fate, *_place(entry)) for entry, fate in sent)
    assert len(sent) == back.total() == sum(len(group.named) for group in groups)
    keys = [group.key for group in groups]
    assert len(keys) == len(set(keys))
    assert all(key_of(name) == group.key for group in groups for name in group.listed)


def _place(entry: Entry) -> tuple[int, bytes, bytes]:
    return entry.root, entry.path, b"%d:%d:%d" % (entry.size, entry.mtime_ns, entry.inode)


def _told(name: str) -> str:
    return name.replace("\n", "\\n").replace("\0", "\\0")


def test_what_agrees_plainly_is_only_counted(tmp_path: Path) -> None:
    entry = Entry(0, b"a.jpg", "a.jpg", 1, 2, 3)
    with open_audit_book(tmp_path) as book:
        book.add_found(0, [entry])
        book.add_sent(0, Fate.SENT, [entry])
        book.add_listed(["a.jpg"])
        plain, groups = read(book)
    assert (groups, plain.same, plain.once, plain.known, plain.listed) == ([], 1, 1, 1, 1)
    assert plain.close


@pytest.mark.parametrize(("sources", "expected"), [(NO_SOURCES, 0), (frozenset({0}), 1)])
def test_a_file_that_the_source_has_not_is_only_overlooked_where_nobody_looked(
    tmp_path: Path, sources: frozenset[int], expected: int
) -> None:
    with open_audit_book(tmp_path) as book:
        book.add_sent(0, Fate.SENT, [Entry(0, b"a.jpg", "a.jpg", 1, 2, 3)])
        book.add_listed(["a.jpg"])
        assert expected == len(read(book, sources)[1])


def fill(book: AuditBook, number: int) -> None:
    for place in range(500):
        book.add_listed([f"{number}-{place:04}.jpg"])


def test_threads_write_at_the_same_time(tmp_path: Path) -> None:
    with open_audit_book(tmp_path, run_bytes=10_000) as book:
        threads = [threading.Thread(target=fill, args=(book, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        names = [group.key for group in read(book)[1]]
    assert [f"{n}-{i:04}.jpg" for n in range(4) for i in range(500)] == names


def test_nothing_is_left_of_it_and_nobody_writes_any_more(tmp_path: Path) -> None:
    with open_audit_book(tmp_path / "audits", run_bytes=1) as book:
        book.add_listed(["a.jpg"])
        assert list((tmp_path / "audits").iterdir()) == []
    with pytest.raises(CheckpointDamaged):
        book.add_listed(["b.jpg"])


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no such device")
    with full.open("wb") as file, pytest.raises(NoRoom, match="make room"):
        AuditBook(file.fileno(), 1).add_listed(["a.jpg"])
