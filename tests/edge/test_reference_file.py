"""A list of references is looked at as a whole before anything is asked for, in memory that does not grow."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from rfbulk.core.references import MAX_LINE_BYTES
from rfbulk.edge.reference_file import GROUP, MAX_FAULTS_SHOWN, open_reference_file, reference_identity
from rfbulk.errors import SourceError, UsageError


def line(name: str, url: str = "https://a.example/x") -> str:
    return json.dumps({"name": name, "url": url}) + "\n"


def test_references_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    names = [f"{number}.png" for number in range(2 * GROUP + 1)]
    path.write_text("\ufeff" + "\n".join(map(line, names)))
    groups = list(open_reference_file(path).scan())
    assert [len(group.references) for group in groups] == [GROUP, GROUP, 1]
    assert [each.name for group in groups for each in group.references] == names
    assert set(open_reference_file(path).urls_of(groups[0].references)) == {"https://a.example/x"}


def test_the_first_faults_are_told_by_line_and_all_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(line("a") + "\n" + "bad\n" * 30 + line("a") + "x" * 3 * MAX_LINE_BYTES + "\n" + line("b"))
    with pytest.raises(UsageError) as caught:
        open_reference_file(path)
    text = str(caught.value)
    assert "32 of 34 lines cannot be used: line 3: it is not one JSON object" in text
    assert text.count("line ") == MAX_FAULTS_SHOWN + text.count("each line")
    assert f"and {32 - MAX_FAULTS_SHOWN} more" in text
    assert "nothing was sent" in text


def test_a_name_that_stands_twice_is_told_with_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(line("a") + line("b") + "\n" + line("b"))
    with pytest.raises(UsageError, match="line 4: its name stands in line 2 already"):
        open_reference_file(path)


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_a_list_without_references_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match="holds no reference"):
        open_reference_file(path)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(SourceError, match="read references"):
            open_reference_file(path)


def test_a_file_that_changes_meanwhile_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(line("a"))
    opened = open_reference_file(path)
    path.write_text(line("a", "http://a.example"))
    with pytest.raises(SourceError, match="changed meanwhile: line 1"):
        list(opened.scan())


def test_a_list_is_known_however_it_is_spelled(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(line("a"))
    (tmp_path / "link").symlink_to(path)
    assert reference_identity(tmp_path / "link") == reference_identity(tmp_path / "." / "list.jsonl")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    with path.open("w") as file:
        for number in range(10_000):
            file.write(line(f"{number}.png", "https://a.example/" + "x" * 500))
    tracemalloc.start()
    try:
        opened = open_reference_file(path)
        assert sum(len(group.references) for group in opened.scan()) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
