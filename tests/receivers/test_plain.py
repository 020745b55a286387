from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import pytest
from crc32c import crc32c

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import Check, FetchOutcome, FetchResult
from tests.receivers.conftest import Unlimited
from tests.support.stores import SIGNATURE, Asked, Handler, Talk, google, head_of, honest, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from rfbulk.receivers.inline import InlineReceiver
    from tests.receivers.conftest import Open, Target

pytestmark = pytest.mark.anyio

BODY = bytes(range(256)) * 100
CHUNKED = head_of("200 OK", "Transfer-Encoding: chunked")
PAGE = head_of("200 OK", "Content-Type: text/html", "Content-Length: 4") + b"<ht>"


def ignore(_count: int) -> None:
    pass


async def fetch_one(open_receiver: Open, target: Target, handler: Handler, **job: object) -> FetchResult:
    """Fetch one object, and tell what came of it."""
    with open_store(handler) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url(), **job)], ignore)  # type: ignore[arg-type]
    assert SIGNATURE not in repr(result)
    return result


def always(*pieces: bytes) -> Handler:
    """Say these bytes, whatever is asked, and hang up."""

    def handle(_asked: Asked, talk: Talk) -> None:
        talk.say(*pieces)
        talk.hang_up()

    return handle


# what lands


async def test_a_file_lands_whole_and_is_known_again(open_receiver: Open, target: Target) -> None:
    told: list[int] = []
    with open_store(honest({"o": BODY})) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url(), path="part/sub/a.jpg")], told.append)
    status = (target.path / "part/sub/a.jpg").stat()
    assert (result.outcome, result.check) == (FetchOutcome.FETCHED, Check.CRC32C)
    assert (result.size, result.crc32c) == (len(BODY), crc32c(BODY))
    assert result.bytes_received == sum(told) == len(BODY)
    assert result.fingerprint is not None
    fingerprint = result.fingerprint
    assert (fingerprint.size, fingerprint.mtime_ns, fingerprint.inode) == (
        status.st_size,
        status.st_mtime_ns,
        status.st_ino,
    )
    assert target.landed() == {"part/sub/a.jpg": BODY}
    assert target.staged() == {}
    assert target.reached == [Failpoint.FETCH_STAGED]


async def test_what_is_asked_is_the_url_as_it_was_signed_and_little_else(open_receiver: Open, target: Target) -> None:
    with open_store(honest({"a+b%20c;x=1//%2e%2E": BODY})) as store:
        async with open_receiver() as receiver:
            await receiver.fetch([target.job(store.url("a+b%20c;x=1//%2e%2E"))], ignore)
    lines = store.asked[0].head.decode().split("\r\n")
    assert lines[:3] == [
        f"GET /a+b%20c;x=1//%2e%2E?X-Goog-Signature={SIGNATURE} HTTP/1.1",
        f"Host: 127.0.0.1:{store.port}",
        "Accept-Encoding: identity",
    ]
    assert [line.partition(":")[0] for line in lines[3:] if line] == ["User-Agent"]


@pytest.mark.parametrize("size", [0, 1, 255 << 10, 256 << 10, (1 << 20) + 7], ids=str)
@pytest.mark.parametrize("piece", [1 << 20, 1000])
async def test_every_size_arrives_by_every_framing(open_receiver: Open, target: Target, size: int, piece: int) -> None:
    body = os.urandom(size)
    pieces = [body[start : start + piece] for start in range(0, size, piece)]

    def handle(asked: Asked, talk: Talk) -> None:
        if asked.name == "length":
            talk.answer(body, *google(body))
        elif asked.name == "chunks":
            talk.chunked(*pieces, headers=google(body), end=b"0\r\nTrailer: x\r\n\r\n")
        else:
            talk.say(head_of("200 OK", *google(body)), *pieces)
            talk.hang_up()

    with open_store(handle) as store:
        async with open_receiver() as receiver:
            names = ["length", "chunks", "end"]
            jobs = [target.job(store.url(name), number, name) for number, name in enumerate(names)]
            results = await receiver.fetch(jobs, ignore)
    assert [result.check for result in results] == [Check.CRC32C] * 3
    assert target.landed() == dict.fromkeys(names, body)
    assert store.connections == 1


async def test_a_group_goes_over_one_connection_and_the_next_over_the_same(open_receiver: Open, target: Target) -> None:
    with open_store(honest({"o": BODY})) as store:
        async with open_receiver() as receiver:
            for group in range(2):
                jobs = [target.job(store.url(), 10 * group + n, f"{group}/{n}") for n in range(5)]
                assert len(await receiver.fetch(jobs, ignore)) == 5
    assert (store.connections, len(target.landed())) == (1, 10)


def md5_text(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


@pytest.mark.parametrize(
    ("headers", "check"),
    [
        (google, Check.CRC32C),
        (lambda body: (f"x-goog-hash: md5={md5_text(body)}",), Check.MD5),
        (lambda body: (f"Content-MD5: {md5_text(body)}",), Check.MD5),
        (lambda body: (google(body)[1],), Check.MD5),
        (lambda _body: ('ETag: "0123456789abcdef0123456789abcdef"',), Check.LENGTH),
        (lambda _body: (), Check.LENGTH),
    ],
    ids=["crc32c", "md5 of google", "md5", "etag", "etag that is no md5", "nothing"],
)
async def test_a_file_is_checked_by_the_best_that_the_store_tells(
    open_receiver: Open, target: Target, headers: Callable[[bytes], tuple[str, ...]], check: Check
) -> None:
    result = await fetch_one(open_receiver, target, honest({"o": BODY}, headers))
    assert (result.outcome, result.check) == (FetchOutcome.FETCHED, check)
    assert ("ETag" in result.detail) == (headers(b"")[:1] == ('ETag: "0123456789abcdef0123456789abcdef"',))


async def test_an_answer_without_any_length_is_called_unverified(open_receiver: Open, target: Target) -> None:
    result = await fetch_one(open_receiver, target, always(head_of("200 OK"), BODY))
    assert (result.outcome, result.check) == (FetchOutcome.FETCHED, Check.NONE)


async def test_what_the_store_unpacked_on_the_way_is_not_held_to_the_packed_hash(
    open_receiver: Open, target: Target
) -> None:
    said = (*google(b"packed"), "x-goog-stored-content-encoding: gzip")
    result = await fetch_one(open_receiver, target, lambda _asked, talk: talk.chunked(BODY, headers=said))
    assert (result.outcome, result.check) == (FetchOutcome.FETCHED, Check.LENGTH)


# what does not


def flipped(body: bytes) -> bytes:
    return body[:100] + bytes([body[100] ^ 1]) + body[101:]


@pytest.mark.parametrize(
    ("handler", "outcome", "detail"),
    [
        (lambda _a, talk: talk.answer(flipped(BODY), *google(BODY)), FetchOutcome.CORRUPT, "CRC32C"),
        (lambda _a, talk: talk.answer(BODY[:-1], *google(BODY)), FetchOutcome.CORRUPT, "CRC32C"),
        (lambda _a, talk: talk.answer(BODY + b"x", *google(BODY)), FetchOutcome.CORRUPT, "CRC32C"),
        (lambda _a, talk: talk.answer(BODY, f"Content-MD5: {md5_text(b'x')}"), FetchOutcome.CORRUPT, "MD5"),
        (always(head_of("200 OK", f"Content-Length: {len(BODY)}"), BODY[:-1]), FetchOutcome.BROKEN, "closed"),
        (always(CHUNKED, b"3\r\nabc\r\n"), FetchOutcome.BROKEN, "closed"),
        (always(CHUNKED, b"3\r\nabc"), FetchOutcome.BROKEN, "closed"),
        (always(CHUNKED, b"3\r\nabcd\r\n0\r\n\r\n"), FetchOutcome.BROKEN, "HTTP"),
        (always(CHUNKED, b"-1\r\n\r\n"), FetchOutcome.BROKEN, "HTTP"),
        (always(CHUNKED, b"f" * 5000), FetchOutcome.BROKEN, "HTTP"),
        (always(head_of("200 OK", *google(BODY)), BODY[:-1]), FetchOutcome.CORRUPT, "CRC32C"),
        (always(b"SSH-2.0-OpenSSH\r\n\r\n"), FetchOutcome.BROKEN, "HTTP"),
        (always(b"HTTP/1.1 200 OK\r\nContent-Le"), FetchOutcome.BROKEN, "closed"),
        (always(b"HTTP/1.1 200 OK\r\nx: " + b"y" * (1 << 20)), FetchOutcome.BROKEN, "HTTP"),
        (always(head_of("101 Switching Protocols")), FetchOutcome.BROKEN, "HTTP"),
        (always(b""), FetchOutcome.BROKEN, "closed"),
        (lambda _a, talk: talk.reset(), FetchOutcome.BROKEN, "closed"),
        (always(PAGE), FetchOutcome.BROKEN, "web page"),
        (lambda _a, talk: talk.answer(BODY, "Content-Encoding: gzip"), FetchOutcome.REFUSED, "packed"),
        (lambda _a, talk: talk.answer(b"", status="204 No Content"), FetchOutcome.REFUSED, "204"),
        (lambda _a, talk: talk.answer(BODY, status="206 x"), FetchOutcome.REFUSED, "206"),
        (lambda _a, talk: talk.answer(b"", status="404 No"), FetchOutcome.GONE, "404"),
        (lambda _a, talk: talk.answer(b"", status="302 Found"), FetchOutcome.REFUSED, "302"),
    ],
    ids=[
        "flipped bit", "one byte less", "one byte more", "other md5", "cut short", "last chunk missing", "chunk cut",
        "chunk longer than said", "negative chunk", "endless chunk line", "cut without a length", "no HTTP",
        "head cut", "endless head", "another protocol", "nothing", "reset", "a page", "packed", "no content",
        "a range unasked", "gone", "a redirect to nowhere",
    ],
)  # fmt: skip
async def test_what_is_not_whole_never_lands(
    open_receiver: Open, target: Target, handler: Handler, outcome: FetchOutcome, detail: str
) -> None:
    result = await fetch_one(open_receiver, target, handler)
    assert (result.outcome, result.fingerprint) == (outcome, None)
    assert detail in result.detail
    assert target.landed() == {}
    assert target.staged() == {}


async def test_a_refusal_is_told_with_what_the_store_says_and_without_the_signature(
    open_receiver: Open, target: Target
) -> None:
    body = f"<Error><Code>ExpiredToken</Code><Message>Ended: {SIGNATURE}</Message></Error>".encode()

    def handle(_asked: Asked, talk: Talk) -> None:
        talk.answer(body, "Retry-After: 7", status="400 Bad Request")

    result = await fetch_one(open_receiver, target, handle)
    assert (result.outcome, result.status, result.retry_after) == (FetchOutcome.EXPIRED, 400, 7.0)
    assert result.detail == "the store answered 400 ExpiredToken: Ended: ‹redacted›"


async def test_one_file_that_fails_does_not_keep_the_others(open_receiver: Open, target: Target) -> None:
    with open_store(honest({"a": b"a", "c": b"c"})) as store:
        async with open_receiver() as receiver:
            jobs = [target.job(store.url(name), n, name) for n, name in enumerate("abc")]
            results = await receiver.fetch(jobs, ignore)
    assert [result.outcome.value for result in results] == ["fetched", "gone", "fetched"]
    assert store.connections == 1


@pytest.mark.parametrize("trouble", ["busy", "broken"])
async def test_a_store_in_trouble_is_asked_for_nothing_more(open_receiver: Open, target: Target, trouble: str) -> None:
    def handle(asked: Asked, talk: Talk) -> None:
        if asked.name == "b" and trouble == "busy":
            talk.answer(b"", "Retry-After: 3", status="503 Busy")
        elif asked.name == "b":
            talk.say(head_of("200 OK", "Content-Length: 10"), b"x")
            talk.hang_up()
        else:
            talk.answer(b"x")

    with open_store(handle) as store:
        async with open_receiver() as receiver:
            results = await receiver.fetch(
                [target.job(store.url(name), n, name) for n, name in enumerate("abc")], ignore
            )
    assert [result.outcome.value for result in results] == ["fetched", trouble]
    assert [asked.name for asked in store.asked] == ["a", "b"]


# where it lands


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_file_that_is_there_is_replaced_only_if_that_is_asked_for(
    open_receiver: Open, target: Target, overwrite: bool
) -> None:
    (target.path / "a.jpg").write_bytes(b"mine")
    result = await fetch_one(open_receiver, target, honest({"o": BODY}), overwrite=overwrite)
    assert result.outcome is (FetchOutcome.FETCHED if overwrite else FetchOutcome.TAKEN)
    assert target.landed() == {"a.jpg": BODY if overwrite else b"mine"}
    assert target.staged() == {}


async def test_a_file_of_the_same_content_counts_as_landed(open_receiver: Open, target: Target) -> None:
    """An earlier run may have been killed between the move and its record."""
    (target.path / "a.jpg").write_bytes(BODY)
    before = (target.path / "a.jpg").stat()
    result = await fetch_one(open_receiver, target, honest({"o": BODY}))
    assert result.outcome is FetchOutcome.FETCHED
    assert result.fingerprint is not None
    assert result.fingerprint.inode == before.st_ino
    assert target.staged() == {}


@pytest.mark.parametrize("kind", ["link to a folder", "dangling link", "file"])
async def test_nothing_lands_through_what_stands_in_a_folders_place(
    open_receiver: Open, target: Target, tmp_path: Path, kind: str
) -> None:
    place = target.path / "part"
    if kind == "file":
        place.write_bytes(b"x")
    else:
        place.symlink_to(tmp_path / ("outside" if kind == "link to a folder" else "nowhere"))
    result = await fetch_one(open_receiver, target, honest({"o": BODY}), path="part/a.jpg")
    assert result.outcome is FetchOutcome.UNWRITABLE
    assert "stands where a folder should be" in result.detail
    assert target.staged() == {}


async def test_a_link_that_stands_where_a_file_lands_is_not_followed(
    open_receiver: Open, target: Target, tmp_path: Path
) -> None:
    (target.path / "a.jpg").symlink_to(tmp_path / "outside/precious")
    result = await fetch_one(open_receiver, target, honest({"o": b"precious"}))
    assert result.outcome is FetchOutcome.TAKEN
    result = await fetch_one(open_receiver, target, honest({"o": BODY}), overwrite=True)
    assert result.outcome is FetchOutcome.FETCHED
    assert target.landed() == {"a.jpg": BODY}


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_folder_that_stands_where_a_file_lands_is_kept(
    open_receiver: Open, target: Target, overwrite: bool
) -> None:
    (target.path / "a.jpg").mkdir()
    result = await fetch_one(open_receiver, target, honest({"o": BODY}), overwrite=overwrite)
    assert result.outcome is FetchOutcome.TAKEN
    assert target.landed() == {"a.jpg/": b""}


# redirects


def redirecting(*locations: str, status: str = "302 Found") -> Handler:
    """Lead through these, then give the object."""

    def handle(asked: Asked, talk: Talk) -> None:
        step = int(asked.name.removeprefix("o") or 0)
        if step < len(locations):
            talk.answer(b"elsewhere", f"Location: {locations[step]}", status=status)
        else:
            talk.answer(BODY, *google(BODY))

    return handle


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
async def test_a_redirect_on_this_machine_is_followed_over_the_same_connection(
    open_receiver: Open, target: Target, status: str
) -> None:
    with open_store(redirecting("/o1?sig=x%2Fy", "o2#fragment", status=status)) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert result.outcome is FetchOutcome.FETCHED
    assert [asked.target for asked in store.asked][1:] == ["/o1?sig=x%2Fy", "/o2"]
    assert store.connections == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://store.example/o",
        "http://localhost.example/o",
        "ftp://127.0.0.1/o",
        "file:///etc/passwd",
        "http://user@127.0.0.1/o",
        "http://[::1/o",
        "/a b",
        "https://",
        "",
    ],
)
async def test_a_redirect_to_a_worse_place_is_not_followed(open_receiver: Open, target: Target, location: str) -> None:
    result = await fetch_one(open_receiver, target, redirecting(location, location, location, location))
    assert result.outcome is FetchOutcome.REFUSED
    assert target.landed() == {}


async def test_redirects_end(open_receiver: Open, target: Target) -> None:
    with open_store(lambda _asked, talk: talk.answer(b"", "Location: /o", status="302 Found")) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert (result.outcome, len(store.asked)) == (FetchOutcome.REFUSED, 4)
    assert "more than 3 times" in result.detail


# rate, and the watchdog


async def test_every_byte_is_booked_with_the_rate(open_receiver: Open, target: Target) -> None:
    rate = Unlimited()
    with open_store(honest({"o": BODY})) as store:
        async with open_receiver(rate=rate) as receiver:
            await receiver.fetch([target.job(store.url())], ignore)
    assert sum(rate.counted) == len(BODY)


async def test_waiting_for_the_rate_is_no_stall(open_receiver: Open, target: Target) -> None:
    class Slow(Unlimited):
        def due(self, count: int) -> float:
            return super().due(count) + 0.02

    body = os.urandom(8 * (256 << 10))
    with open_store(honest({"o": body})) as store:
        async with open_receiver(rate=Slow(), stall_seconds=0.1) as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert result.outcome is FetchOutcome.FETCHED


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", head_of("200 OK", "Content-Length: 10") + b"x"])
async def test_a_store_that_says_no_more_is_left_at_the_stall_limit(
    open_receiver: Open, target: Target, said: bytes
) -> None:
    def handle(_asked: Asked, talk: Talk) -> None:
        talk.say(said)
        talk.wait()

    with open_store(handle) as store, anyio.fail_after(5):
        async with open_receiver(stall_seconds=0.05) as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert result.outcome is FetchOutcome.BROKEN
    assert "nothing moved" in result.detail
    assert target.staged() == {}


async def test_a_store_that_trickles_is_left_too(open_receiver: Open, target: Target) -> None:
    def handle(_asked: Asked, talk: Talk) -> None:
        talk.say(head_of("200 OK", "Content-Length: 1000000"))
        for _ in range(200):
            talk.say(b"x")
            talk.pause(0.005)
        talk.wait()

    with open_store(handle) as store, anyio.fail_after(5):
        async with open_receiver(stall_seconds=0.1) as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert result.outcome is FetchOutcome.BROKEN


# connections that rest


async def fetched_twice(receiver: InlineReceiver, target: Target, url: object) -> list[FetchOutcome]:
    outcomes = []
    for n in range(2):
        (result,) = await receiver.fetch([target.job(url, n, str(n))], ignore)  # type: ignore[arg-type]
        outcomes.append(result.outcome)
    return outcomes


@pytest.mark.parametrize("last_words", [b"", head_of("408 Request Timeout", "Content-Length: 0", "Connection: close")])
async def test_a_connection_that_was_closed_without_a_word_is_replaced(
    open_receiver: Open, target: Target, last_words: bytes
) -> None:
    """Also when that shows only once the next file was asked for, in the middle of a group."""

    def handle(asked: Asked, talk: Talk) -> None:
        if asked.name == "b" and asked.connection == 1:
            talk.say(last_words)
            talk.hang_up()
        else:
            talk.answer(b"x")

    with open_store(handle) as store:
        async with open_receiver() as receiver:
            results = await receiver.fetch(
                [target.job(store.url(name), n, name) for n, name in enumerate("abc")], ignore
            )
    assert [result.outcome.value for result in results] == ["fetched"] * 3
    assert [asked.name for asked in store.asked] == ["a", "b", "b", "c"]


async def test_a_new_connection_that_says_nothing_is_not_tried_again(open_receiver: Open, target: Target) -> None:
    with open_store(lambda _asked, talk: talk.hang_up()) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert (result.outcome, len(store.asked)) == (FetchOutcome.BROKEN, 1)


@pytest.mark.parametrize(
    "answer",
    [
        head_of("200 OK", "Content-Length: 1", "Connection: close") + b"x",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        head_of("200 OK", "Content-Length: 1") + b"x" + head_of("200 OK", "Content-Length: 1") + b"y",
    ],
    ids=["close", "1.0", "more than was asked for"],
)
async def test_a_connection_that_is_not_at_an_answers_end_is_not_used_again(
    open_receiver: Open, target: Target, answer: bytes
) -> None:
    """An answer that came unasked must never be taken for that to another file."""
    with open_store(lambda _asked, talk: talk.say(answer)) as store:
        async with open_receiver() as receiver:
            results = await receiver.fetch([target.job(store.url(), n, str(n)) for n in range(2)], ignore)
            outcomes = await fetched_twice(receiver, target, store.url())
    assert {result.outcome for result in results} | set(outcomes) == {FetchOutcome.FETCHED}
    assert set(target.landed().values()) == {b"x"}
    assert store.connections == 4
