from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rfbulk.core import naming
from rfbulk.core.naming import (
    MAX_NAME_BYTES,
    absolute_name,
    basename_name,
    member_name,
    prefixed_name,
    source_path,
)

NASTY = st.sampled_from(
    [b"_", b"__", b"%", b"%5F", b"%5f", b"%~", b"~", b"5F", b"\\", b"\n", b"\x7f", b"\xff", b"\xe2\x80", b".", b"a"]
    + [text.encode() for text in ("é", "\x85", "\u2028", "\u202e", "日", "\u200f", "\U0001f600", " ", "\u00ad")]
)
COMPONENTS = (
    st.one_of(
        st.lists(NASTY, min_size=1, max_size=6).map(b"".join),
        st.lists(st.sampled_from(b"_%5F~ab"), min_size=1, max_size=6).map(bytes),
        st.binary(min_size=1, max_size=8),
    )
    .map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"%"))
    .filter(lambda name: name not in (b"", b".", b".."))
)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=5).map(b"/".join)
LONG_PATHS = st.builds(
    lambda path, filler, times, suffix: path + b"/" + filler * times + suffix,
    PATHS,
    st.sampled_from([b"x", b"\xff", "日".encode(), b"_", b"d/", "\u202e".encode()]),
    st.integers(60, 400),
    st.sampled_from([b"x.jpg", b"x", b"x." + b"j" * 40, "x.ü".encode()]),
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"img.jpg", "img.jpg"),
        (b"100%.jpg", "100%.jpg"),
        (b"_img_.jpg", "_img_.jpg"),
        (b"camera-1/day-2/img.jpg", "camera-1__day-2__img.jpg"),
        (b"a__b.jpg", "a%5F_b.jpg"),
        (b"a___b.jpg", "a%5F%5F_b.jpg"),
        (b"a_/b.jpg", "a%5F__b.jpg"),
        (b"a/_b.jpg", "a__%5Fb.jpg"),
        (b"a/_/b.jpg", "a__%5F__b.jpg"),
        (b"a/__/b.jpg", "a__%5F%5F__b.jpg"),
        (b"50%25.jpg", "50%2525.jpg"),
        (b"50%5f.jpg", "50%255f.jpg"),
        (b"a%~b.jpg", "a%25~b.jpg"),
        (b"%%41", "%%2541"),
        (b"\xff.jpg", "%FF.jpg"),
        (b"%\xff.jpg", "%%FF.jpg"),
        (b"%4\xff.jpg", "%4%FF.jpg"),
        (b"new\nline.jpg", "new%0Aline.jpg"),
        (b"back\\slash.jpg", "back%5Cslash.jpg"),
        ("\u202egpj.jpg".encode(), "%E2%80%AEgpj.jpg"),
        ("日本/é.jpg".encode(), "日本__é.jpg"),
        (b"a/.hidden.jpg", "a__.hidden.jpg"),
        (b".../b.jpg", "...__b.jpg"),
    ],
)
def test_a_path_has_its_documented_name(path: bytes, name: str) -> None:
    assert member_name(path) == name
    assert source_path(name) == path


@given(st.one_of(PATHS, LONG_PATHS))
def test_a_name_is_one_flat_printable_component(path: bytes) -> None:
    name = member_name(path)
    assert name not in ("", ".", "..")
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert not set(name) & {"/", "\\", "\0"}
    bidirectional = {unicodedata.bidirectional(letter) for letter in name}
    assert not bidirectional & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not {unicodedata.category(letter) for letter in name} & {"Cc", "Zl", "Zp", "Cs"}


@given(PATHS)
@example(b"a_/_b")
@example(b"_/__/_")
@example(b"%/5F")
@example(b"%5/F")
@example(b"%_5F")
def test_a_name_leads_back_to_its_path(path: bytes) -> None:
    """Which also proves that no two paths share a name, among names that were not shortened."""
    name = member_name(path)
    assume("%~" not in name)
    assert source_path(name) == path


@given(st.one_of(PATHS, LONG_PATHS))
def test_the_short_way_for_clean_names_gives_what_the_long_way_gives(path: bytes) -> None:
    assert member_name(path) == naming._escaped_name(path)


@pytest.mark.slow
@given(st.lists(st.one_of(PATHS, LONG_PATHS), unique=True, min_size=2, max_size=12))
def test_no_two_paths_share_a_name(paths: list[bytes]) -> None:
    assert len({member_name(path) for path in paths}) == len(paths)


@given(st.lists(st.sampled_from(b"_/a"), min_size=1, max_size=12).map(bytes))
def test_underscores_at_the_edges_of_folders_cannot_clash(path: bytes) -> None:
    assume(all(path.split(b"/")))
    assert source_path(member_name(path)) == path


@given(st.text(st.sampled_from("_%5F~ab/"), min_size=1, max_size=10))
@example("__5")
def test_undoing_takes_only_what_naming_gives(name: str) -> None:
    try:
        path = source_path(name)
    except ValueError:
        return
    given_by = absolute_name(path[1:]) if path.startswith(b"/") else member_name(path)
    assert given_by == name


@given(LONG_PATHS)
def test_a_shortened_name_is_marked_and_cannot_be_undone(path: bytes) -> None:
    name = member_name(path)
    assume("%~" in name)
    with pytest.raises(ValueError, match="shortened"):
        source_path(name)


def test_a_shortened_name_keeps_its_start_and_its_suffix() -> None:
    name = member_name("日".encode() * 80 + b"/" + b"y" * 200 + b".jpeg")
    assert name.startswith("日" * 70)
    assert name.endswith(".jpeg")
    assert 250 <= len(name.encode()) <= MAX_NAME_BYTES


@pytest.mark.parametrize("length", [MAX_NAME_BYTES - 1, MAX_NAME_BYTES, MAX_NAME_BYTES + 1])
def test_names_are_shortened_only_above_the_limit(length: int) -> None:
    for path in (b"x" * length, b"a/" + b"x" * (length - 3), "a/é".encode() + b"x" * (length - 5)):
        assert ("%~" in member_name(path)) == (length > MAX_NAME_BYTES)


@pytest.mark.parametrize(
    "path", [b"", b".", b"..", b"/a", b"a/", b"a//b", b"a/./b", b"../a", b"a/..", b"_/../%41", b"/"]
)
def test_what_is_no_path_of_a_file_is_refused(path: bytes) -> None:
    with pytest.raises(ValueError, match="no path of a file"):
        member_name(path)


@given(PATHS)
def test_a_basename_is_named_as_if_it_lay_in_the_source_folder(path: bytes) -> None:
    assert basename_name(path) == member_name(path.rpartition(b"/")[2])


@given(PATHS)
def test_a_prefixed_name_is_that_of_a_folder_in_front(path: bytes) -> None:
    assert prefixed_name(b"left_", path) == member_name(b"left_/" + path)
