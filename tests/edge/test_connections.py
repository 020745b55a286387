from __future__ import annotations

import pytest

from rfbulk.core.urls import url_of
from rfbulk.edge.connections import Connections, Origin, authorization
from rfbulk.edge.lines import Call, CalledOff
from rfbulk.edge.ways import ways_of
from tests.support.stores import Asked, Talk, open_store


def a_call() -> Call:
    return Call(lambda _count: None)


def connections(**environment: str) -> Connections:
    return Connections(ways_of(environment, connect_seconds=5.0, ca_file=None))


def answer(_asked: Asked, talk: Talk) -> None:
    talk.answer(b"x")


def test_a_connection_that_was_left_is_lent_again_and_is_fresh_no_more() -> None:
    with open_store(answer) as store:
        kept = connections()
        origin = kept.origin_of(url_of(store.url().reveal()))
        line = kept.line_to(origin, a_call())
        assert line.is_fresh
        kept.leave(line, origin, keep=True)
        assert kept.has_resting()
        again = kept.line_to(origin, a_call())
        assert (again is line, again.is_fresh) == (True, False)
        other = kept.new_line_to(origin, a_call())
        assert other is not line
        kept.leave(other, origin, keep=False)
        kept.leave(line, origin, keep=True)
        kept.close()
        assert not kept.has_resting()


def test_what_comes_back_after_the_end_is_closed() -> None:
    with open_store(answer) as store:
        kept = connections()
        origin = kept.origin_of(url_of(store.url().reveal()))
        line = kept.line_to(origin, a_call())
        kept.close()
        kept.leave(line, origin, keep=True)
        assert not kept.has_resting()


def test_a_connection_is_never_lent_for_another_origin() -> None:
    with open_store(answer) as store:
        kept = connections()
        origin = Origin("http", "127.0.0.1", store.port, None)
        line = kept.line_to(origin, a_call())
        kept.leave(line, origin, keep=True)
        same_by_another_name = origin._replace(host="localhost")
        other = kept.line_to(same_by_another_name, a_call())
        assert other is not line
        kept.leave(other, same_by_another_name, keep=False)
        kept.close()


def test_a_call_that_is_off_gets_no_connection_and_leaves_none() -> None:
    with open_store(answer) as store:
        kept = connections()
        origin = Origin("http", "127.0.0.1", store.port, None)
        kept.leave(kept.line_to(origin, a_call()), origin, keep=True)
        call = a_call()
        call.call_off()
        with pytest.raises(CalledOff):
            kept.line_to(origin, call)
        assert not any(kept._resting.values() if kept._resting else ())
        kept.close()


@pytest.mark.parametrize(
    ("url", "is_forwarded"),
    [("http://store.example/o", True), ("https://store.example/o", False), ("http://127.0.0.1/o", False)],
)
def test_a_proxy_reads_plain_requests_alone(url: str, is_forwarded: bool) -> None:
    kept = connections(http_proxy="http://gate.example:1", https_proxy="http://gate.example:1")
    assert kept.origin_of(url_of(url)).is_forwarded is is_forwarded


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/", "a.example"),
        ("https://a.example:443/", "a.example"),
        ("https://a.example:8443/", "a.example:8443"),
        ("http://[::1]:80/", "[::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
    ],
)
def test_a_host_is_named_as_it_was_signed(url: str, expected: str) -> None:
    assert expected == url_of(url).host_header


def test_a_proxy_knows_us_by_its_address_alone() -> None:
    assert authorization(url_of("http://gate.example")) == {}
    assert authorization(None) == {}
    assert authorization(url_of("http://user:p%40ss@gate.example")) == {"Proxy-Authorization": "Basic dXNlcjpwQHNz"}
