from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from rfbulk.core.heads import HeadFault
from rfbulk.edge.answers import PutAnswer, PutBroken, WrongLength, read_answer
from rfbulk.edge.lines import Call, Line
from rfbulk.edge.troubles import TroubleKind
from tests.edge.conftest import SIGNATURE

URL_OF = f"https://store.example/o?X-Goog-Signature={SIGNATURE}&X-Goog-Date=20250101T000000Z&n=1"


def read(text: bytes) -> tuple[PutAnswer, bool]:
    """What is made of an answer, and whether its connection can be used again."""
    ours, theirs = socket.socketpair()
    with theirs:
        line = Line(ours)
        line.serve(Call(lambda _count: None))
        line.limit(5)
        threading.Thread(target=say, args=(theirs, text), daemon=True).start()
        try:
            return read_answer(line, URL_OF, 7)
        finally:
            line.close()


def say(theirs: socket.socket, text: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads further than the limit
        theirs.sendall(text)
        theirs.shutdown(socket.SHUT_WR)


def answer_of(status: str, body: bytes = b"", *headers: str) -> PutAnswer:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    answer, _ = read("\r\n".join(lines).encode() + body)
    return answer


@pytest.mark.parametrize(
    ("headers", "crc32c", "md5"),
    [
        (["x-goog-hash: crc32c=AAAAAQ=="], 1, ""),
        (["x-goog-hash: crc32c=AAAAAQ==,md5=kAFQmDzST7DWlj99KOF/cg=="], 1, "kAFQmDzST7DWlj99KOF/cg=="),
        (["x-goog-hash: md5=kAFQmDzST7DWlj99KOF/cg==", "X-Goog-Hash: crc32c=AAAAAQ=="], 1, "kAFQmDzST7DWlj99KOF/cg=="),
        (["x-amz-checksum-crc32c: AAAAAg=="], 2, ""),
        (["x-goog-hash: crc32c=!!!"], None, ""),
        (["x-goog-hash: crc32c=AAAA"], None, ""),
        (["x-goog-hash: crc32c"], None, ""),
        (["x-ms-content-crc64: AAAAAQ=="], None, ""),
        ([], None, ""),
    ],
)
def test_hashes_are_read_from_each_store(headers: list[str], crc32c: int | None, md5: str) -> None:
    answer = answer_of("200 OK", b"", *headers)
    assert (answer.crc32c, answer.md5, answer.bytes_sent) == (crc32c, md5, 7)


@pytest.mark.parametrize(
    ("headers", "is_page"),
    [
        (["Content-Type: text/html; charset=utf-8"], True),
        (["Content-Type: TEXT/HTML"], True),
        (["Content-Type: text/html; charset=UTF-8", 'ETag: "e"'], False),  # Google says so of an object it stored
        (["Content-Type: application/xml"], False),
        ([], False),
    ],
)
def test_a_web_page_is_told_from_a_stores_answer(headers: list[str], is_page: bool) -> None:
    assert answer_of("200 OK", b"", *headers).is_page == is_page


def test_an_error_is_read_and_what_was_signed_is_not_repeated() -> None:
    body = f"<Error><Code>SignatureDoesNotMatch</Code><Message>not {SIGNATURE}</Message></Error>".encode()
    answer = answer_of("403 Forbidden", body, f'ETag: "{"e" * 5000}"', "Retry-After: 9")
    assert (answer.error_code, answer.error_message) == ("SignatureDoesNotMatch", "not ‹redacted›")
    assert answer.retry_after == 9.0
    assert len(answer.etag) < 500


def test_retry_after_as_a_date_counts_from_the_servers_own() -> None:
    dates = ("Date: Wed, 01 Jan 2025 12:00:00 GMT", "Retry-After: Wed, 01 Jan 2025 12:00:30 GMT")
    answer = answer_of("503 Busy", b"", *dates)
    assert answer.retry_after == 30.0


@pytest.mark.parametrize(
    ("text", "is_at_its_end"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 500 X\r\nContent-Length: 3\r\n\r\nabc", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", False),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + bytes(99_999), False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
    ],
)
def test_only_an_answer_that_was_read_to_its_end_leaves_its_connection_usable(text: bytes, is_at_its_end: bool) -> None:
    answer, is_at_start = read(text)
    assert (answer.status, is_at_start) == (int(text[9:12]), is_at_its_end)


def test_an_answer_is_read_no_further_than_its_limit() -> None:
    answer, is_at_start = read(b"HTTP/1.1 400 Bad\r\n\r\n<Error><Code>Why</Code>" + b" " * (8 << 20))
    assert (answer.error_code, is_at_start) == ("Why", False)


@pytest.mark.parametrize("length", ["nine", "-1", "3, 4", "1e3"])
def test_an_answer_that_does_not_say_plainly_how_far_it_goes_is_none(length: str) -> None:
    with pytest.raises(HeadFault):
        read(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nabc".encode())


def test_what_ends_an_attempt_says_so() -> None:
    broken = PutBroken(TroubleKind.BROKEN, "it broke", bytes_sent=3, complete=True)
    assert (str(broken), broken.kind, broken.bytes_sent, broken.complete) == ("it broke", TroubleKind.BROKEN, 3, True)
    assert str(WrongLength(3, 4)) == "3 bytes were announced, 4 came"
