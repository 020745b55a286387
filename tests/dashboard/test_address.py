from __future__ import annotations

import socket
from contextlib import closing

import pytest

from rfbulk.dashboard.address import Access, Address, access_for, listen, parse_address, url_of
from rfbulk.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Address(is_default=True)),
        ("127.0.0.1:9000", Address("127.0.0.1", 9000)),
        (":9000", Address("127.0.0.1", 9000)),
        ("9000", Address("127.0.0.1", 9000)),
        ("box.example", Address("box.example", 8791)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),  # noqa: S104 - what an operator may ask for
        ("[::1]:9000", Address("::1", 9000)),
        ("[::1]", Address("::1", 8791)),
        ("::1", Address("::1", 8791)),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, expected: Address) -> None:
    assert expected == parse_address(text)


@pytest.mark.parametrize(
    "text", ["a:b", "host:", "host:99999", "http://host:80", "a b:80", "[::1", "[::1]x:80", "h?:1"]
)
def test_what_is_no_address_is_refused_in_words(text: str) -> None:
    with pytest.raises(UsageError, match="dashboard") as caught:
        parse_address(text)
    assert "--dashboard" in str(caught.value)


def test_a_taken_port_is_told_if_it_was_chosen_and_replaced_if_not() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            listen(Address("127.0.0.1", port))
        with closing(listen(Address("127.0.0.1", port, is_default=True))) as other:
            assert port != other.getsockname()[1]


def test_a_host_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.invalid"):
        listen(Address("nowhere.invalid", 0))


def test_loopback_needs_no_token_and_everything_else_does() -> None:
    with closing(listen(Address("localhost", 0))) as near, closing(listen(Address("0.0.0.0", 0))) as far:  # noqa: S104
        inside, outside = access_for(near, Address("localhost")), access_for(far, Address("0.0.0.0"))  # noqa: S104
        assert (inside.token, inside.is_loopback) == ("", True)
        assert len(outside.token) >= 43
        assert outside.token != access_for(far, Address("0.0.0.0")).token  # noqa: S104
        assert outside.token in url_of(far, Address("0.0.0.0"), outside)  # noqa: S104
        assert url_of(near, Address("localhost"), inside) == f"http://localhost:{near.getsockname()[1]}/"


LOOPBACK = Access(frozenset({"localhost"}), is_loopback=True)
BEYOND = Access(frozenset({"localhost", "box.example"}), is_loopback=False, token="t")


@pytest.mark.parametrize(
    ("access", "header", "expected"),
    [
        (LOOPBACK, "localhost:8791", True),
        (LOOPBACK, "LOCALHOST", True),
        (LOOPBACK, "127.0.0.1:9999", True),
        (LOOPBACK, "[::1]:8791", True),
        (LOOPBACK, "evil.example:8791", False),
        (LOOPBACK, "localhost.evil.example", False),
        (LOOPBACK, "127.0.0.1.evil.example", False),
        (LOOPBACK, "192.168.0.7", False),
        (LOOPBACK, "", False),
        (LOOPBACK, "2130706433", False),
        (BEYOND, "box.example:80", True),
        (BEYOND, "192.168.0.7:8791", True),
        (BEYOND, "[fe80::1]:8791", True),
        (BEYOND, "evil.example", False),
    ],
)
def test_only_names_of_its_own_are_answered(access: Access, header: str, expected: bool) -> None:
    assert expected is access.knows_host(header)


@pytest.mark.parametrize("token", ["", "T", "tt", "t\x00", "é", "\udc80"])
def test_another_token_opens_nothing(token: str) -> None:
    assert not BEYOND.admits(token)


def test_the_token_opens() -> None:
    assert BEYOND.admits("t")
    assert LOOPBACK.admits("")
