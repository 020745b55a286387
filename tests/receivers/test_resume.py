from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from rfbulk.core.fetching import Check, FetchOutcome, FetchResult
from rfbulk.core.getting import MARK_BYTES, Mark
from tests.support.archives import packed, tar_of
from tests.support.stores import SIGNATURE, Asked, Handler, Talk, google, head_of, honest, open_store

if TYPE_CHECKING:
    from tests.receivers.conftest import Open, Target

pytestmark = pytest.mark.anyio

BODY = os.urandom(3 * MARK_BYTES)
CUT = MARK_BYTES + MARK_BYTES // 2
ETAG = google(BODY)[1]


def ignore(_count: int) -> None:
    pass


def cut_once(*then: Handler, headers: tuple[str, ...] = google(BODY), at: int = CUT) -> Handler:
    """Break off the first answer; leave the others to these handlers, the last of them for ever."""
    left = [*then]

    def handle(asked: Asked, talk: Talk) -> None:
        if not begun:
            begun.append(True)
            talk.say(head_of("200 OK", f"Content-Length: {len(BODY)}", *headers), BODY[:at])
            talk.hang_up()
            return
        (left.pop(0) if len(left) > 1 else left[0])(asked, talk)

    begun: list[bool] = []
    return handle


async def fetch_twice(open_receiver: Open, target: Target, handler: Handler) -> tuple[list[Asked], FetchResult]:
    """Fetch by two receivers, as two runs do; tell what was asked and what the second one got."""
    with open_store(handler) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
        assert result.outcome is FetchOutcome.BROKEN
        assert target.landed() == {}
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    return store.asked, result


async def test_a_broken_transfer_continues_where_it_broke_off(open_receiver: Open, target: Target) -> None:
    asked, result = await fetch_twice(open_receiver, target, cut_once(honest({"o": BODY})))
    assert asked[1].headers["range"] == f"bytes={CUT}-"
    assert f"ETag: {asked[1].headers['if-range']}" == ETAG
    assert (result.outcome, result.check) == (FetchOutcome.FETCHED, Check.CRC32C)
    assert (result.resumed_from, result.bytes_received, result.size) == (CUT, len(BODY) - CUT, len(BODY))
    assert target.landed() == {"a.jpg": BODY}
    assert target.staged() == {}


async def test_what_is_kept_for_that_holds_no_url(open_receiver: Open, target: Target) -> None:
    with open_store(cut_once(honest({"o": BODY}))) as store:
        async with open_receiver() as receiver:
            await receiver.fetch([target.job(store.url(), 7)], ignore)
    staged = target.staged()
    assert set(staged) == {"7.mark", "7.part"}
    assert staged["7.part"] == BODY[:CUT]
    assert SIGNATURE.encode() not in staged["7.mark"]
    assert b"127.0.0.1" not in staged["7.mark"]


def md5_header(body: bytes) -> str:
    return f"x-goog-hash: md5={base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}"


@pytest.mark.parametrize(
    ("headers", "check"),
    [((ETAG, md5_header(BODY)), Check.MD5), ((ETAG,), Check.MD5), (('ETag: "v1"',), Check.LENGTH)],
    ids=["md5", "etag", "length"],
)
async def test_a_continued_file_is_hashed_from_its_first_byte(
    open_receiver: Open, target: Target, headers: tuple[str, ...], check: Check
) -> None:
    handler = cut_once(honest({"o": BODY}, lambda _body: headers), headers=headers)
    _, result = await fetch_twice(open_receiver, target, handler)
    assert (result.outcome, result.check, result.resumed_from) == (FetchOutcome.FETCHED, check, CUT)


async def test_a_hash_that_only_the_second_answer_tells_is_held_to(open_receiver: Open, target: Target) -> None:
    said = ('ETag: "v1"', md5_header(BODY))
    handler = cut_once(honest({"o": BODY}, lambda _body: said), headers=said[:1])
    _, result = await fetch_twice(open_receiver, target, handler)
    assert (result.outcome, result.check, result.resumed_from) == (FetchOutcome.FETCHED, Check.MD5, CUT)


def part(start: int, *, total: int = len(BODY), etag: str = ETAG, body: bytes = BODY) -> Handler:
    """Answer a range, but not quite that which was asked for."""

    def handle(asked: Asked, talk: Talk) -> None:
        if asked.range_from is None:
            talk.answer(BODY, *google(BODY))
        else:
            said = f"Content-Range: bytes {start}-{len(body) - 1}/{total}"
            talk.answer(body[start:], said, etag, status="206 Partial Content")

    return handle


@pytest.mark.parametrize(
    ("then", "requests"),
    [
        (part(CUT + 1), 3),
        (part(CUT, total=len(BODY) + 1), 3),
        (part(CUT, etag='ETag: "another"'), 3),
        (part(0), 3),
        (lambda _asked, talk: talk.answer(BODY, *google(BODY)), 2),
    ],
    ids=["another start", "another total", "another etag", "the whole as a range", "the whole"],
)
async def test_what_is_not_the_rest_of_the_same_file_starts_anew(
    open_receiver: Open, target: Target, then: Handler, requests: int
) -> None:
    asked, result = await fetch_twice(open_receiver, target, cut_once(then))
    assert (result.outcome, result.resumed_from) == (FetchOutcome.FETCHED, 0)
    assert len(asked) == requests
    assert target.landed() == {"a.jpg": BODY}
    assert target.staged() == {}


async def test_a_range_that_cannot_be_given_starts_anew(open_receiver: Open, target: Target) -> None:
    short = BODY[:1000]

    def handle(asked: Asked, talk: Talk) -> None:
        if asked.range_from is None:
            talk.answer(short, *google(short))
        else:
            talk.answer(b"", "Content-Range: bytes */1000", status="416 Range Not Satisfiable")

    _, result = await fetch_twice(open_receiver, target, cut_once(handle))
    assert (result.outcome, result.size) == (FetchOutcome.FETCHED, 1000)
    assert target.landed() == {"a.jpg": short}


async def test_a_file_that_is_another_one_by_now_is_fetched_whole(open_receiver: Open, target: Target) -> None:
    other = os.urandom(2 * MARK_BYTES)
    _, result = await fetch_twice(open_receiver, target, cut_once(honest({"o": other})))
    assert (result.outcome, result.resumed_from) == (FetchOutcome.FETCHED, 0)
    assert target.landed() == {"a.jpg": other}


async def test_a_url_that_has_ended_leaves_the_beginning_for_the_next(open_receiver: Open, target: Target) -> None:
    def handle(_asked: Asked, talk: Talk) -> None:
        talk.answer(b"<Error><Code>ExpiredToken</Code></Error>", status="400 Bad Request")

    handler = cut_once(handle, honest({"o": BODY}))
    _, result = await fetch_twice(open_receiver, target, handler)
    assert result.outcome is FetchOutcome.EXPIRED
    with open_store(honest({"o": BODY})) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert (result.outcome, result.resumed_from) == (FetchOutcome.FETCHED, CUT)


async def test_a_beginning_that_was_spoiled_is_found_and_thrown_away(open_receiver: Open, target: Target) -> None:
    with open_store(cut_once(honest({"o": BODY}))) as store:
        async with open_receiver() as receiver:
            await receiver.fetch([target.job(store.url())], ignore)
            part = target.staging / "1.part"
            part.write_bytes(b"x" + part.read_bytes()[1:])
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
            assert (result.outcome, result.resumed_from) == (FetchOutcome.CORRUPT, CUT)
            assert target.staged() == {}
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert (result.outcome, result.resumed_from) == (FetchOutcome.FETCHED, 0)
    assert target.landed() == {"a.jpg": BODY}


@pytest.mark.parametrize("held", [len(BODY), len(BODY) + 100, len(BODY) - 1, 1])
async def test_a_crash_at_any_length_is_continued(open_receiver: Open, target: Target, held: int) -> None:
    """Killed behind the last byte and before the move, all but one byte need not come again."""
    mark = Mark(ETAG.removeprefix("ETag: "), len(BODY), is_hashed=True, with_md5=False, boot="")
    target.staging.mkdir()
    (target.staging / "1.part").write_bytes((BODY + bytes(100))[:held])
    (target.staging / "1.mark").write_bytes(msgspec.json.encode(mark))
    with open_store(honest({"o": BODY})) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert (result.outcome, result.resumed_from) == (FetchOutcome.FETCHED, min(held, len(BODY) - 1))
    assert target.landed() == {"a.jpg": BODY}


@pytest.mark.parametrize(
    "mark",
    [
        b"",
        b"{",
        b"[]",
        b'{"etag": 5}',
        b"\x00" * 5000,
        msgspec.json.encode(Mark('"e"', 5, is_hashed=False, with_md5=False, boot="another")),
    ],
    ids=["empty", "cut", "another shape", "another type", "zeros", "before the last start of the system"],
)
async def test_a_beginning_that_cannot_be_believed_is_not_continued(
    open_receiver: Open, target: Target, mark: bytes
) -> None:
    target.staging.mkdir()
    (target.staging / "1.part").write_bytes(b"abc")
    (target.staging / "1.mark").write_bytes(mark)
    with open_store(honest({"o": BODY})) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert "range" not in store.asked[0].headers
    assert (result.outcome, result.resumed_from) == (FetchOutcome.FETCHED, 0)
    assert target.landed() == {"a.jpg": BODY}
    assert target.staged() == {}


@pytest.mark.parametrize(
    ("headers", "at"),
    [(('ETag: W/"weak"',), CUT), ((), CUT), (google(BODY), MARK_BYTES // 2)],
    ids=["a weak etag", "no etag", "too little"],
)
async def test_what_does_not_pay_or_cannot_be_named_is_not_kept(
    open_receiver: Open, target: Target, headers: tuple[str, ...], at: int
) -> None:
    with open_store(cut_once(honest({"o": BODY}), headers=headers, at=at)) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert (result.outcome, result.bytes_received) == (FetchOutcome.BROKEN, at)
    assert target.staged() == {}


def size_of(path: Path) -> int | None:
    """None for a file that is just being made anew."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


async def test_a_mark_never_stands_beside_the_beginning_of_another_file(open_receiver: Open, target: Target) -> None:
    """Anew means first without the old mark: a crash in between must not join two files."""
    other = os.urandom(2 * MARK_BYTES)
    seen: list[set[str]] = []

    def handle(_asked: Asked, talk: Talk) -> None:
        talk.say(head_of("200 OK", f"Content-Length: {len(other)}"), other[: MARK_BYTES // 2])
        while size_of(target.staging / "1.part") in (CUT, None):
            talk.pause(0.001)
        seen.append(set(target.staged()))
        talk.say(other[MARK_BYTES // 2 :])

    _, result = await fetch_twice(open_receiver, target, cut_once(handle))
    assert result.outcome is FetchOutcome.FETCHED
    assert seen == [{"1.part"}]


async def test_a_file_whose_path_is_taken_need_not_come_again_for_another(open_receiver: Open, target: Target) -> None:
    (target.path / "a.jpg").write_bytes(b"mine")
    with open_store(honest({"o": BODY})) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
            assert result.outcome is FetchOutcome.TAKEN
            (result,) = await receiver.fetch([target.job(store.url(), path="a~2.jpg")], ignore)
    assert (result.outcome, result.bytes_received) == (FetchOutcome.FETCHED, 1)
    assert target.landed() == {"a.jpg": b"mine", "a~2.jpg": BODY}


# archives


CONTENT = os.urandom(4 * MARK_BYTES)
ARCHIVE = packed(tar_of({"a": CONTENT, "b": b"b"}))


def breaking(*, step: int, headers: tuple[str, ...] = google(ARCHIVE), data: bytes = ARCHIVE) -> Handler:
    """Hang up behind every so many bytes, and give ranges."""

    def handle(asked: Asked, talk: Talk) -> None:
        start = asked.range_from or 0
        if asked.range_from is None:
            talk.say(head_of("200 OK", f"Content-Length: {len(data)}", *headers))
        else:
            said = f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}"
            talk.say(head_of("206 x", f"Content-Length: {len(data) - start}", said, *headers))
        talk.say(data[start : start + step])
        talk.hang_up()

    return handle


async def unpack(open_receiver: Open, target: Target, handler: Handler) -> tuple[list[Asked], FetchResult]:
    with open_store(handler) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.tar(store.url())], ignore)
    return store.asked, result


async def test_an_archive_goes_on_over_another_connection(open_receiver: Open, target: Target) -> None:
    asked, result = await unpack(open_receiver, target, breaking(step=CUT))
    assert [seen.range_from for seen in asked] == [None, *range(CUT, len(ARCHIVE), CUT)]
    assert (result.outcome, result.check) == (FetchOutcome.FETCHED, Check.CRC32C)
    assert (result.bytes_received, result.size, result.resumed_from) == (len(ARCHIVE), len(ARCHIVE), 0)
    assert target.staged() == {"1/0": CONTENT, "1/1": b"b"}


@pytest.mark.parametrize(
    ("headers", "step", "requests"),
    [((), CUT, 1), (('ETag: W/"weak"',), CUT, 1), (google(ARCHIVE), MARK_BYTES // 2, 1)],
    ids=["no etag", "a weak etag", "too little each time"],
)
async def test_an_archive_that_cannot_go_on_leaves_nothing(
    open_receiver: Open, target: Target, headers: tuple[str, ...], step: int, requests: int
) -> None:
    asked, result = await unpack(open_receiver, target, breaking(step=step, headers=headers))
    assert (result.outcome, len(asked)) == (FetchOutcome.BROKEN, requests)
    assert target.staged() == {}


@pytest.mark.parametrize(
    "then",
    [
        honest({"o": ARCHIVE[:-1] + b"x"}),
        lambda _asked, talk: talk.answer(b"", status="403 Forbidden"),
        lambda _asked, talk: talk.answer(b"", status="503 Busy"),
        lambda _asked, talk: talk.hang_up(),
    ],
    ids=["another file", "expired", "busy", "broken again"],
)
async def test_an_archive_whose_rest_does_not_come_is_broken(
    open_receiver: Open, target: Target, then: Handler
) -> None:
    def handle(asked: Asked, talk: Talk) -> None:
        (breaking(step=CUT) if asked.range_from is None else then)(asked, talk)

    asked, result = await unpack(open_receiver, target, handle)
    assert (result.outcome, len(asked)) == (FetchOutcome.BROKEN, 2)
    assert (result.members, target.staged()) == ((), {})
