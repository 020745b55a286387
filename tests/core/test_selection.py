from __future__ import annotations

import re

import pytest

from rfbulk.core.selection import Selection, chooser_of
from rfbulk.errors import UsageError


def is_taken(path: str, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> bool:
    return chooser_of(Selection(include, exclude)).takes(path.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("pattern", "matched", "unmatched"),
    [
        ("*.png", ["a.png", "x/y/a.png", ".png", "new\nline.png"], ["a.PNG", "a.png/b.jpg", "a.pngx"]),
        ("img_?.jpg", ["img_1.jpg", "d/img_x.jpg"], ["img_12.jpg", "img_.jpg"]),
        ("img_[0-9].jpg", ["img_7.jpg"], ["img_x.jpg"]),
        ("img_[!0-9].jpg", ["img_x.jpg", "d/img_^.jpg"], ["img_7.jpg", "img_/.jpg"]),
        ("[]^-]x", ["]x", "^x", "-x"], ["ax", "x"]),
        ("a[b.jpg", ["a[b.jpg"], ["ab.jpg"]),
        ("[", ["["], ["x"]),
        ("[a&&b].c", ["a.c", "&.c"], ["c.c"]),
        ("cam-?/*.jpg", ["cam-1/a.jpg"], ["x/cam-1/a.jpg", "cam-1/d/a.jpg"]),
        ("/a.jpg", ["a.jpg"], ["d/a.jpg"]),
        ("./a.jpg", ["a.jpg", "d/a.jpg"], ["ba.jpg"]),
        ("./d/*", ["d/a.jpg"], ["x/d/a.jpg"]),
        ("**/raw/*", ["raw/a", "x/raw/a", "x/y/raw/a"], ["raw/x/a", "xraw/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("cam/**", ["cam/a", "cam/x/a"], ["x/cam/a", "cam"]),
        ("**", ["a", "x/a"], []),
        ("a**z", ["az", "a/x/z"], ["a", "ba/z"]),
        ("cache/", ["cache/a", "x/cache/y/a"], ["cache", "xcache/a"]),
        ("/cache/", ["cache/a"], ["x/cache/a"]),
        ("a.b+(c)", ["a.b+(c)"], ["aXb+(c)", "a.bb(c)"]),
        ("\udcff*", ["\udcff.jpg"], ["a.jpg"]),
    ],
)
def test_a_pattern_matches_what_the_table_says(pattern: str, matched: list[str], unmatched: list[str]) -> None:
    assert [path for path in matched + unmatched if is_taken(path, include=(pattern,))] == matched
    assert [path for path in matched + unmatched if not is_taken(path, exclude=(pattern,))] == matched


def test_excluding_wins() -> None:
    assert is_taken("b.png", include=("*.png",), exclude=("a*",))
    assert not is_taken("a.png", include=("*.png",), exclude=("a*",))


def test_any_of_several_patterns_suffices() -> None:
    assert is_taken("b.jpg", include=("*.png", "*.jpg"))
    assert not is_taken("b.bmp", include=("*.png", "*.jpg"))


@pytest.mark.parametrize("pattern", ["cache", "cache/", "cache/**", "/cache", "**/cache/", "c*", "**"])
def test_an_excluded_folder_is_not_entered(pattern: str) -> None:
    assert not chooser_of(Selection(exclude=(pattern,))).enters(b"cache")


@pytest.mark.parametrize("pattern", ["cache/*.jpg", "cache/x/", "x", "*.jpg", "cache/**/x", "?", "x/cache"])
def test_a_folder_that_may_hold_something_is_entered(pattern: str) -> None:
    assert chooser_of(Selection(exclude=(pattern,))).enters(b"cache")


def test_what_is_included_does_not_decide_which_folders_are_entered() -> None:
    assert chooser_of(Selection(include=("*.png",))).enters(b"cache")


def test_no_folder_is_entered_without_recursion() -> None:
    assert not chooser_of(Selection(recursive=False)).enters(b"cache")


@pytest.mark.parametrize("pattern", ["", "/", "./", "[z-a]"])
def test_a_pattern_without_meaning_is_refused_by_its_text(pattern: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(pattern))):
        chooser_of(Selection(include=(pattern,)))


def test_only_a_selection_without_patterns_takes_all() -> None:
    assert chooser_of(Selection()).takes_all
    assert not chooser_of(Selection(include=("*",))).takes_all
    assert not chooser_of(Selection(exclude=("x",))).takes_all
