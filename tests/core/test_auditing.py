"""Three accounts of one name, and what is said of them."""

from __future__ import annotations

import pytest

from rfbulk.core.auditing import (
    Books,
    Difference,
    Doubt,
    Fate,
    Found,
    Group,
    NamedFile,
    SentFile,
    Terms,
    judge,
    key_of,
    why_changed,
)

TERMS = Terms(frozenset({0, 1}), frozenset({0, 1}), ((b"/src",), (b"/other",)))
A = "a.jpg"
ANEW = "a%~01234567.jpg"


def found(about: bytes = b"1:1:1", origin: int = 0, name: str = A, path: bytes = b"a.jpg") -> Found:
    return Found(name, origin, 0, path, about)


def sent(
    fate: Fate = Fate.SENT, about: bytes = b"1:1:1", origin: int = 0, name: str = A, path: bytes = b"a.jpg"
) -> SentFile:
    return SentFile(name, fate, origin, 0, path, about)


def named(why: str = "unreadable: no", name: str = A) -> NamedFile:
    return NamedFile(name, 0, 0, b"a.jpg", why)


def judged(group: Group, terms: Terms = TERMS) -> tuple[list[str], Books]:
    books = Books()
    said = list(judge(group, terms, books))
    assert books.close
    return ["doubt" if isinstance(each, Doubt) else each.kind.value for each in said], books


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (Group(A, [found()], [sent()], [], {A: 1}), []),
        (Group(A, [found()], [sent()], [], {}), ["lost"]),
        (Group(A, [found()], [sent()], [], {A: 2}), ["doubled"]),
        (Group(A, [found()], [sent(Fate.PENDING)], [], {}), ["pending"]),
        (Group(A, [found()], [sent(Fate.PENDING)], [], {A: 1}), []),
        (Group(A, [], [], [], {A: 1}), ["unknown"]),
        (Group(A, [], [], [], {A: 3}), ["unknown", "doubled"]),
        (Group(A, [found()], [], [], {A: 1}), []),
        (Group(A, [found()], [], [], {A: 2}), ["doubled"]),
        (Group(A, [found()], [], [], {}), ["new"]),
        (Group(A, [found(b"2:1:1")], [sent()], [], {A: 1}), ["changed"]),
        (Group(A, [], [sent()], [], {A: 1}), ["doubt"]),
        (Group(A, [], [sent()], [], {}), ["lost", "doubt"]),
        (Group(A, [found()], [sent(Fate.LEFT)], [], {}), ["left"]),
        (Group(A, [found()], [sent(Fate.FAILED)], [named()], {}), ["failed"]),
        (Group(A, [found()], [sent(Fate.FAILED)], [], {A: 1}), ["failed"]),
        (Group(A, [found()], [], [named()], {}), ["failed"]),
        (Group(A, [found()], [sent()], [named("not-listed: gone")], {}), ["lost"]),
        # it came after all: the name of then is no difference of now
        (Group(A, [found()], [sent()], [named("not-listed: gone")], {A: 1}), []),
        # sent anew under a marked name after it had changed
        (Group(A, [found(b"2:2:1")], [sent(), sent(about=b"2:2:1", name=ANEW)], [], {A: 1, ANEW: 1}), []),
        # two sources, one name
        (Group(A, [found(), found(origin=1)], [sent(), sent(origin=1)], [], {A: 2}), ["doubled"]),
        (Group(A, [found(), found(origin=1)], [sent(), sent(origin=1)], [], {A: 1}), ["lost"]),
        (Group(A, [found(), found(origin=1)], [sent()], [], {A: 1}), ["new"]),
    ],
)  # fmt: skip
def test_each_case_has_its_word(group: Group, expected: list[str]) -> None:
    assert expected == judged(group)[0]


def test_a_source_that_was_not_looked_at_is_not_asked_for() -> None:
    terms = Terms(frozenset({0}), frozenset(), ())
    assert judged(Group(A, [], [sent()], [], {A: 1}), terms)[0] == []


def test_others_make_names_known_and_are_not_answered_for() -> None:
    terms = Terms(frozenset({0}), frozenset({0}), ())
    theirs = sent(origin=1)
    assert (*_kinds(Group(A, [], [theirs], [], {A: 1}), terms), 0) == ([], 1, 0)
    assert judged(Group(A, [], [theirs, sent(Fate.LEFT, origin=1, path=b"b.jpg")], [], {}), terms)[0] == []


def _kinds(group: Group, terms: Terms) -> tuple[list[str], int]:
    kinds, books = judged(group, terms)
    return kinds, books.known


def test_names_that_cannot_be_known_are_counted_and_not_called_differences() -> None:
    terms = Terms(frozenset(), frozenset(), (), is_open=True)
    kinds, books = judged(Group(A, [], [], [], {A: 1}), terms)
    assert (kinds, books.unknown) == ([], 1)


def test_a_difference_names_the_file_and_says_why() -> None:
    said = list(judge(Group(A, [found(b"2000:1:1")], [sent(about=b"1:1:1")], [], {A: 1}), TERMS, Books()))
    assert [Difference("changed", A, "/src/a.jpg", "sent with 1 bytes, 2,000 now")] == said  # type: ignore[arg-type]  # a StrEnum
    (lost,) = judge(Group(A, [found()], [sent()], [named("not-listed: the tar is bad")], {}), TERMS, Books())
    assert getattr(lost, "detail", "") == "not-listed: the tar is bad"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("a%~0123abcd.jpg", "a.jpg"),
        ("a%~0123abcd", "a"),
        ("a%~0123abcd0123abcd0123abcd0123abcd.jpg", "a%~0123abcd0123abcd0123abcd0123abcd.jpg"),
        ("a%25~0123abcd.jpg", "a%25~0123abcd.jpg"),
        ("a%~0123abcd.b.jpg", "a%~0123abcd.b.jpg"),
    ],
)
def test_a_mark_is_told_from_a_shortened_name(name: str, expected: str) -> None:
    assert expected == key_of(name)


def test_marks_that_tell_no_size_are_compared_all_the_same() -> None:
    assert why_changed(b"0123456789abcdef", b"fedcba9876543210") == "sent before, and different now"
