"""What is asked, believed and told; how files fare under it is held in `tests/receivers`."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from rfbulk.core.secrets import SignedUrl
from rfbulk.edge.downlink import BUFFER_BYTES, Downlink, GetBroken, GetRefused, Tap
from rfbulk.edge.lines import Call, CalledOff
from rfbulk.edge.transport import USER_AGENT, TransportOptions, open_transport
from rfbulk.edge.troubles import TroubleKind
from rfbulk.errors import ServiceRefused, UsageError
from tests.support.stores import SIGNATURE, Asked, Talk, head_of, open_store

pytestmark = pytest.mark.anyio

if TYPE_CHECKING:
    from tests.edge.conftest import Authority

OPTIONS = TransportOptions(connect_seconds=5.0, environment={})


def a_call() -> Call:
    return Call(lambda _count: None)


@contextlib.contextmanager
def a_tap(downlink: Downlink, call: Call | None = None) -> Iterator[Tap]:
    tap = downlink.tap(call or a_call(), bytearray(BUFFER_BYTES), stall_seconds=5.0)
    try:
        yield tap
    finally:
        tap.close()


@contextlib.asynccontextmanager
async def open_downlink(options: TransportOptions = OPTIONS) -> AsyncIterator[Downlink]:
    async with open_transport(options) as transport:
        downlink = Downlink(transport.ways, allow_http=options.allow_http)
        try:
            yield downlink
        finally:
            downlink.close()


async def asked_and_read(tap: Tap, url: SignedUrl, headers: dict[str, str] | None = None) -> bytes:
    return await anyio.to_thread.run_sync(lambda: b"".join(map(bytes, tap.get(url, headers).pieces())))


def echo(asked: Asked, talk: Talk) -> None:
    talk.answer(asked.head)


async def test_a_url_is_asked_for_as_it_was_spelled() -> None:
    target = "/a+b%20c;x=1//d/%2e%2E/e?q=a+b%2B&sig=A%2FB%3D&e&x==&%zz=~!*'()"
    with open_store(echo) as store:
        async with open_downlink() as downlink:
            with a_tap(downlink) as tap:
                for _ in range(2):
                    head = await asked_and_read(
                        tap, SignedUrl(f"http://127.0.0.1:{store.port}{target}"), {"Range": "r"}
                    )
    assert head.decode().split("\r\n") == [
        f"GET {target} HTTP/1.1",
        f"Host: 127.0.0.1:{store.port}",
        "Accept-Encoding: identity",
        f"User-Agent: {USER_AGENT}",
        "Range: r",
        "",
        "",
    ]
    assert store.connections == 1


@pytest.mark.parametrize(
    ("rest", "target"), [("", "/"), ("/", "/"), ("?a=/b", "/?a=/b"), ("/a#b", "/a"), ("#/b", "/"), ("/a?b#c", "/a?b")]
)
async def test_what_is_asked_for_is_what_follows_the_host(rest: str, target: str) -> None:
    with open_store(echo) as store:
        async with open_downlink() as downlink:
            with a_tap(downlink) as tap:
                for before in ("/x", rest):  # also once the store is known
                    await asked_and_read(tap, SignedUrl(f"http://127.0.0.1:{store.port}{before}"))
    assert store.asked[1].target == target


@pytest.mark.parametrize("suffix", ["x", "0", "@evil.example/o", "\\@evil.example/o", ".evil.example/o"])
async def test_a_url_is_never_taken_for_that_of_a_store_it_only_begins_like(suffix: str) -> None:
    with open_store(echo) as store:
        async with open_downlink() as downlink:
            with a_tap(downlink) as tap:
                await asked_and_read(tap, SignedUrl(f"http://127.0.0.1:{store.port}/o"))
                with pytest.raises((GetRefused, GetBroken)):
                    await asked_and_read(tap, SignedUrl(f"http://127.0.0.1:{store.port}{suffix}"))
    assert len(store.asked) == 1


async def test_an_answer_that_was_not_read_costs_its_connection_alone() -> None:
    with open_store(lambda _asked, talk: talk.answer(bytes(1 << 20))) as store:
        async with open_downlink() as downlink:
            with a_tap(downlink) as tap:
                answer = await anyio.to_thread.run_sync(lambda: tap.get(store.url()))
                assert answer.head.length == 1 << 20
                assert len(await asked_and_read(tap, store.url())) == 1 << 20
    assert store.connections == 2


async def test_a_long_error_is_looked_at_from_its_beginning() -> None:
    body = b"<Error><Code>Why</Code></Error>" + bytes(1 << 20)
    with open_store(lambda _asked, talk: talk.answer(body, status="403 No")) as store:
        async with open_downlink() as downlink:
            with a_tap(downlink) as tap:
                answer = await anyio.to_thread.run_sync(lambda: tap.get(store.url()))
                assert await anyio.to_thread.run_sync(answer.error) == ("Why", "")
    assert answer.path == "/o"


async def test_a_call_that_is_off_asks_for_nothing() -> None:
    call = a_call()
    with open_store(echo) as store:
        async with open_downlink() as downlink:
            with a_tap(downlink, call) as tap:
                await asked_and_read(tap, store.url())
                call.call_off()
                with pytest.raises(CalledOff):
                    await asked_and_read(tap, store.url())
    assert len(store.asked) == 1


@pytest.mark.parametrize(("port", "kind"), [(None, TroubleKind.CONNECT), (0, TroubleKind.BROKEN)])
async def test_trouble_is_told_by_its_kind(port: int | None, kind: TroubleKind) -> None:
    with open_store(lambda _asked, talk: talk.hang_up()) as store:
        url = store.url() if port == 0 else SignedUrl("http://localhost.invalid.localhost:1/o")
        async with open_downlink() as downlink:
            with a_tap(downlink) as tap, pytest.raises(GetBroken) as broken:
                await asked_and_read(tap, url)
    assert broken.value.kind is kind


async def test_a_proxy_of_another_kind_is_refused_in_words() -> None:
    async with open_downlink(TransportOptions(environment={"https_proxy": "https://gate.example"})) as downlink:
        with a_tap(downlink) as tap, pytest.raises(UsageError, match="only http:// proxies"):
            await asked_and_read(tap, SignedUrl("https://store.example/o"))


async def test_no_signature_reaches_an_error_or_a_log(caplog: pytest.LogCaptureFixture, authority: Authority) -> None:
    """A store may put back into its answer what it was sent."""
    caplog.set_level(logging.DEBUG)
    canary = SIGNATURE.encode()
    ways = [
        b"",
        b"%s\r\n\r\n" % canary,
        b"HTTP/1.1 2 %s\r\n\r\n" % canary,
        b"HTTP/1.1 200 OK\r\n%s: x\r\n" % canary,
        head_of("200 OK", "Transfer-Encoding: chunked") + b"z%s\r\n" % canary,
        head_of("200 OK", "Content-Length: 999") + canary,
        head_of("302 x", f"Location: http://elsewhere.example/{SIGNATURE}", "Content-Length: 0"),
        head_of("302 x", f"Location: http://{SIGNATURE}:x/", "Content-Length: 0"),
    ]
    errors: list[Exception] = []

    def handle(_asked: Asked, talk: Talk) -> None:
        talk.say(ways[len(errors)])
        talk.hang_up()

    with open_store(handle) as store, open_store(echo, authority.context("127.0.0.1")) as secured:
        async with open_downlink() as downlink:
            for url in [*[store.url()] * len(ways), secured.url(), SignedUrl(f"http://a b/{SIGNATURE}")]:
                with a_tap(downlink) as tap, pytest.raises((GetBroken, GetRefused, ServiceRefused)) as met:
                    await asked_and_read(tap, url)
                errors.append(met.value)
    for error in errors:
        assert SIGNATURE not in f"{error} {error!r} {error.args} {''.join(traceback.format_exception(error))}"
        assert error.__cause__ is None
        assert error.__context__ is None
    assert SIGNATURE not in caplog.text
