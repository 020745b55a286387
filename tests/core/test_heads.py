from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.heads import HeadFault, parse_head


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def test_a_head_is_taken_apart() -> None:
    found = parse_head(
        head("HTTP/1.1 206 Partial Content", "Content-Length:  5\t", 'ETag: "a:b"', "X-Goog-Hash: crc32c=AA==")
    )
    assert (found.status, found.length, found.is_chunked, found.keeps) == (206, 5, False, True)
    assert found.headers == {"content-length": "5", "etag": '"a:b"', "x-goog-hash": "crc32c=AA=="}


def test_what_comes_in_several_headers_is_joined() -> None:
    found = parse_head(head("HTTP/1.1 200 OK", "x-goog-hash: crc32c=AA==", "X-Goog-Hash: md5=BB=="))
    assert found.headers["x-goog-hash"] == "crc32c=AA==, md5=BB=="


@pytest.mark.parametrize(
    ("lines", "length", "is_chunked", "keeps"),
    [
        (["HTTP/1.1 200", "Content-Length: 3"], 3, False, True),
        (["HTTP/1.1 200 OK"], None, False, False),
        (["HTTP/1.1 200 OK", "Transfer-Encoding: Chunked"], None, True, True),
        (["HTTP/1.1 200 OK", "Content-Length: 3", "Connection: Close"], 3, False, False),
        (["HTTP/1.0 200 OK", "Content-Length: 3"], 3, False, False),
        (["HTTP/1.1 204 No Content"], 0, False, True),
        (["HTTP/1.1 304 Not Modified", "Content-Length: 999"], 0, False, True),
        (["HTTP/1.1 200 OK", "Content-Length: 3, 3"], 3, False, True),
        (["HTTP/1.1 200 OK", "Content-Length: 3", "content-length: 3"], 3, False, True),
        (["HTTP/1.1 200 OK", "Content-Length: 000000000000000003"], 3, False, True),
    ],
)
def test_a_head_says_where_its_answer_ends(lines: list[str], length: int | None, is_chunked: bool, keeps: bool) -> None:
    found = parse_head(head(*lines))
    assert (found.length, found.is_chunked, found.keeps) == (length, is_chunked, keeps)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nfolded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 3\n\n",
        b"HTTP/1.1 200 OK\r\n\r\nx",
        head("HTTP/1.1 200 OK", "Content-Length: -3"),
        head("HTTP/1.1 200 OK", "Content-Length: +3"),
        head("HTTP/1.1 200 OK", "Content-Length: 3.0"),
        head("HTTP/1.1 200 OK", "Content-Length: "),
        head("HTTP/1.1 200 OK", "Content-Length: 1" + "0" * 18),
        head("HTTP/1.1 200 OK", "Content-Length: 3", "Content-Length: 4"),
        head("HTTP/1.1 200 OK", "Content-Length: 3", "Transfer-Encoding: chunked"),
        head("HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked"),
        head("HTTP/1.1 200 OK", "Transfer-Encoding: identity"),
    ],
)
def test_what_could_be_read_in_two_ways_is_no_head(data: bytes) -> None:
    with pytest.raises(HeadFault):
        parse_head(data)


@given(
    st.one_of(
        st.binary(max_size=100),
        st.lists(st.sampled_from([b"HTTP/1.1 200 OK", b"\r\n", b"a:b", b":", b"\n"])).map(b"".join),
    )
)
def test_whatever_comes_is_a_head_or_a_fault(data: bytes) -> None:
    with contextlib.suppress(HeadFault):
        assert 100 <= parse_head(data).status < 600
