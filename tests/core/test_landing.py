from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rfbulk.core.landing import MAX_COMPONENT_BYTES, MAX_DEPTH, MAX_PATH_BYTES, UnsafeName, apart, clash_key, safe_path

ODD = st.text(st.sampled_from("aB.é \\/:~%\x00\n\x85\udcff\ud800日*?" + "\u202e"), max_size=40)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.jpg", "a.jpg"),
        ("camera-1__day-2__img (1).jpg", "camera-1__day-2__img (1).jpg"),
        ("a/b/c.png", "a/b/c.png"),
        ("./a//b/./c", "a/b/c"),
        ("a/", "a"),
        ("日本.png", "日本.png"),
        (".bashrc", "%2Ebashrc"),
        (".ssh/authorized_keys", "%2Essh/authorized_keys"),
        ("a. ", "a.%20"),
        ("a.", "a%2E"),
        (" a", "%20a"),
        ("...", "%2E.%2E"),
        ("a\\b", "a%5Cb"),
        ("\udcff\udc80.jpg", "%FF%80.jpg"),
        ("nul.txt", "nul.txt"),
        ("a:b", "%"),
        ("a?b*c", "a?b*c"),
    ],
)
def test_a_name_becomes_a_path_that_stays_where_it_belongs(name: str, path: str) -> None:
    if path == "%":
        with pytest.raises(UnsafeName, match="absolute"):
            safe_path(name)
    else:
        assert path == safe_path(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.jpg", "leads out"),
        ("a/../../b", "leads out"),
        ("..", "leads out"),
        ("..\\..\\evil", "leads out"),
        ("a\\..\\b", "leads out"),
        ("/etc/passwd", "absolute"),
        ("//server/share", "absolute"),
        ("\\\\server\\share", "absolute"),
        ("C:\\x", "absolute"),
        ("c:x", "absolute"),
        ("", "names no file"),
        (".", "names no file"),
        ("./.", "names no file"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\x7f", "control"),
        ("a\x9bb", "control"),
        ("/".join("a" * (MAX_DEPTH + 1)), "folders"),
        ("/".join(["x" * 200] * 11), "bytes"),
    ],
)
def test_a_name_that_leads_out_or_is_none_is_refused_in_words(name: str, reason: str) -> None:
    with pytest.raises(UnsafeName, match=reason):
        safe_path(name)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("nul.txt", "%6Eul.txt"),
        ("COM1", "%43OM1"),
        ("con/a", "%63on/a"),
        ("console", "console"),
        ('a<b>"|?*', "a%3Cb%3E%22%7C%3F%2A"),
        ("ab:stream", "ab%3Astream"),
    ],
)
def test_what_windows_alone_does_not_take_is_spelled_there(name: str, path: str) -> None:
    assert path == safe_path(name, windows=True)


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "é" * 200 + ".tar.gz", "日" * 100, "x" * 300 + "." + "y" * 300])
def test_an_overlong_component_is_cut_and_keeps_its_suffix_and_its_difference(name: str) -> None:
    first, second = safe_path("d/" + name), safe_path("d/z" + name[1:])
    assert first != second
    assert len(first.removeprefix("d/").encode()) <= MAX_COMPONENT_BYTES
    for suffix in (".jpg", ".tar.gz"):
        assert first.endswith(suffix) == name.endswith(suffix)


@given(ODD)
@example("..")
@example("a" * 255 + "é")
def test_a_path_is_safe_whatever_the_name(name: str) -> None:
    try:
        path = safe_path(name)
    except UnsafeName:
        return
    components = path.split("/")
    assert not {"", ".", ".."} & set(components)
    assert len(path.encode()) <= MAX_PATH_BYTES  # and it can be written as UTF-8
    assert all(len(part.encode()) <= MAX_COMPONENT_BYTES for part in components)
    assert not any(part.startswith((".", " ")) or part.endswith((".", " ")) for part in components)
    assert not any(character < " " or character == "\\" for character in path)
    assert path == safe_path(name)


def test_a_component_that_is_cut_at_a_dot_or_space_does_not_end_with_it() -> None:
    path = safe_path("a" * 243 + "   . . ." + "b" * 40)
    assert path == path.strip(". ")


@pytest.mark.parametrize(
    ("path", "n", "expected"),
    [
        ("a.jpg", 1, "a.jpg"),
        ("a.jpg", 2, "a~2.jpg"),
        ("d.x/a", 3, "d.x/a~3"),
        ("d/a.tar.gz", 2, "d/a~2.tar.gz"),
        ("a.b.c", 12, "a.b~12.c"),
        ("x" * 251 + ".jpg", 2, "x" * 249 + "~2.jpg"),
        ("a." + "y" * 250, 2, "a." + "y" * 250 + "~2"),
    ],
)
def test_files_that_want_one_path_are_told_apart_by_a_number(path: str, n: int, expected: str) -> None:
    assert expected == apart(path, n)
    assert len(apart(path, n).rpartition("/")[2].encode()) <= MAX_COMPONENT_BYTES


@pytest.mark.parametrize(
    ("first", "second"),
    [("A.JPG", "a.jpg"), ("é.png", "e\u0301.png"), ("É", "e\u0301"), ("STRASSE", "straße"), ("K", "\u212a")],
)
def test_paths_that_some_file_system_takes_for_one_have_one_key(first: str, second: str) -> None:
    assert clash_key(first) == clash_key(second)


def test_paths_that_differ_have_two_keys() -> None:
    assert clash_key("a/b") != clash_key("a/c")
    assert clash_key("é") != clash_key("e")
