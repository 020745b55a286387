from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import pytest

from rfbulk.dashboard import server
from rfbulk.dashboard.address import Address
from rfbulk.dashboard.chronicle import Chronicle, Ending
from rfbulk.dashboard.frames import Frames
from rfbulk.dashboard.picture import Painter
from rfbulk.dashboard.server import MOST_CONNECTIONS, MOST_READERS, Site, serving
from tests.crash.commands import until
from tests.dashboard.histories import ABOUT, SENDING, named, told, upload

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
LOOPBACK = Address("127.0.0.1", 0)
EVERYWHERE = Address("0.0.0.0", 0)  # noqa: S104 - what is tried is that a token is needed there


@asynccontextmanager
async def served(
    chronicle: Chronicle, address: Address = LOOPBACK, **more: Any
) -> AsyncIterator[tuple[str, aiohttp.ClientSession, Site]]:
    site = Site(Frames(Painter(chronicle, ABOUT)), **more)
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session, serving(site, address) as url:
        yield url.replace(socket.gethostname(), "127.0.0.1"), session, site


async def frames_of(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


async def test_the_page_and_all_that_it_needs_come_from_here() -> None:
    async with served(told(upload())) as (url, session, _site):
        wanted, seen = ["", "checkpoints.html"][:1], set[str]()
        while wanted:
            name = wanted.pop()
            seen.add(name)
            async with session.get(url + name) as response:
                assert response.status == 200, name
                text = await response.text()
            found = re.findall(r'(?:src|href)="/([^"]+)"|from "\./([^"]+)"', text)
            wanted += [one or two for one, two in found if (one or two) not in seen]
            assert re.findall(r"(?:src|href|url\(|import\()\W*(?:https?:)?//", text) == []
    assert {"", "style.css", "transfer.js", "chart.js", "cellmap.js", "stream.js", "words.js", "icon.svg"} == seen


async def test_every_answer_forbids_whatever_the_page_does_not_need() -> None:
    async with served(told(upload())) as (url, session, _site):
        for path in ("", "style.css", "nothing", "events"):
            async with session.get(url + path) as response:
                policy = response.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
                assert not {"unsafe-inline", "unsafe-eval", "*", "http:", "https:", "data:"} & set(
                    re.split("[ ;']+", policy)
                )
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Referrer-Policy"] == "no-referrer"
                assert response.headers["Cache-Control"] == "no-store"
                assert "Access-Control-Allow-Origin" not in response.headers


async def test_no_page_writes_markup_of_its_own() -> None:
    site = await anyio.to_thread.run_sync(server._read_assets)
    for name, content in site.items():
        words = {
            b"innerHTML",
            b"outerHTML",
            b"insertAdjacentHTML",
            b"document.write",
            b"eval(",
            b"Function(",
            b" style=",
            b"onclick",
        }
        assert {word for word in words if word in content} == set(), name


async def test_frames_are_streamed_and_the_end_is_told() -> None:
    chronicle = told(upload())
    async with aiohttp.ClientSession() as session:
        site = Site(Frames(Painter(chronicle, ABOUT)))
        async with serving(site, LOOPBACK) as url:
            response = await session.get(url + "events")
            frames = frames_of(response)
            whole = await anext(frames)
            assert (whole["kind"], whole["about"]["command"]) == ("whole", "upload images")
            chronicle.take(named(2), 11.0)
            changes = await anext(frames)
            assert (
                changes["kind"],
                [one["path"] for one in changes["named"]["files"]],
            ) == ("changes", ["/photos/2.jpg"])
            chronicle.end(Ending(3, "finished, but some files failed"), 12.0)
        last = await anext(frames)
        assert last["ending"]["exit_code"] == 3
        assert b"event: end" in await response.content.read()
        assert site.readers == 0


async def test_a_command_that_fails_tells_its_readers_too() -> None:
    chronicle = told(upload())

    async def fail(session: aiohttp.ClientSession, responses: list[aiohttp.ClientResponse]) -> None:
        async with serving(Site(Frames(Painter(chronicle, ABOUT))), LOOPBACK) as url:
            responses.append(await session.get(url + "events"))
            await anext(frames_of(responses[0]))
            chronicle.end(Ending(1, "failed", "the disk is full"), 12.0)
            raise ZeroDivisionError

    async with aiohttp.ClientSession() as session:
        responses: list[aiohttp.ClientResponse] = []
        with pytest.raises(ZeroDivisionError):
            await fail(session, responses)
        assert (await anext(frames_of(responses[0])))["ending"]["error"] == "the disk is full"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_nothing_can_be_changed(method: str) -> None:
    async with served(told(upload())) as (url, session, _site), session.request(method, url) as response:
        assert response.status == 405


async def test_a_strange_website_that_points_its_name_here_reads_nothing() -> None:
    async with served(told(upload())) as (url, session, _site):
        for path in ("", "events", "style.css"):
            async with session.get(url + path, headers={"Host": "evil.example"}) as response:
                assert response.status == 421
                assert "spring" not in await response.text()
        async with session.get(url, headers={"Host": "localhost:1234"}) as response:
            assert response.status == 200


async def test_beyond_this_machine_nobody_sees_anything_without_the_token() -> None:
    async with served(told(upload()), EVERYWHERE) as (url, session, _site):
        bare, _, query = url.partition("?")
        token = query.removeprefix("token=")
        for path in ("", "events", "style.css", "detail/x", "?token=", "?token=wrong"):
            async with session.get(bare + path) as response:
                assert response.status == 403
                assert token not in await response.text()
        for header in (f"Bearer {token}x", f"Basic {token}", token, "Bearer"):
            async with session.get(bare, headers={"Authorization": header}) as response:
                assert response.status == 403
        async with session.get(bare, headers={"Authorization": f"Bearer {token}"}) as response:
            assert response.status == 200


async def test_the_token_goes_from_the_address_into_a_cookie_that_no_script_reads() -> None:
    async with served(told(upload()), EVERYWHERE) as (url, session, _site):
        async with session.get(url, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "/")
            cookie = response.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
        async with session.get(url) as response:
            assert (response.status, response.url.query_string) == (200, "")
        async with session.get(url.partition("?")[0] + "events") as response:
            assert response.status == 200


async def test_readers_are_bounded_and_their_places_come_free() -> None:
    async with served(told(upload())) as (url, session, site):
        opened = [await session.get(url + "events") for _ in range(MOST_READERS)]
        async with session.get(url + "events") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "10")
        for each in opened:
            each.close()
        await until(lambda: site.readers == 0)
        async with session.get(url + "events") as response:
            assert response.status == 200


async def test_connections_are_bounded_so_that_the_transfer_keeps_its_descriptors() -> None:
    async with served(told(upload())) as (url, _session, _site):
        host, port = re.findall(r"//([^:]+):(\d+)", url)[0]
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(MOST_CONNECTIONS)]
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        for _, each in [*opened, (reader, writer)]:
            each.close()
            await each.wait_closed()


async def test_a_reader_that_reads_nothing_holds_up_neither_the_command_nor_memory() -> None:
    chronicle = told(upload())
    for number in range(500):
        chronicle.take(named(number, path="x" * 2000), 11.0)
    async with served(chronicle, write_seconds=0.3) as (url, _session, site):
        host, port = re.findall(r"//([^:]+):(\d+)", url)[0]
        silent = socket.socket()
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect((host, int(port)))
        silent.sendall(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        try:
            await until(lambda: site.readers == 1)
            await until(lambda: site.readers == 0)
        finally:
            silent.close()


async def test_a_defect_of_the_page_is_told_and_stays_its_own() -> None:
    troubles: list[Exception] = []

    async def broken(_name: str) -> dict[str, Any] | None:
        raise KeyError("nothing")

    async with served(told(upload()), detail=broken, on_trouble=troubles.append) as (url, session, _site):
        async with session.get(url + "detail/x") as response:
            assert response.status == 500
        async with session.get(url) as response:
            assert response.status == 200
    assert [type(each).__name__ for each in troubles] == ["KeyError"]


async def test_garbage_on_the_line_says_nothing_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    async with served(told(upload())) as (url, _session, _site):
        host, port = re.findall(r"//([^:]+):(\d+)", url)[0]
        for line in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(line + b"\r\n\r\n")
            answer = await reader.read()
            assert b" 400 " in answer or b" 421 " in answer or answer == b""
            writer.close()
            await writer.wait_closed()
    assert capsys.readouterr().err == ""


def test_the_same_frames_for_all() -> None:
    """Encoded once a tick, whoever looks on: thirty readers cost no more than one."""
    chronicle = told(upload())
    frames = Frames(Painter(chronicle, ABOUT))
    one = frames.next(0, 1.0)
    chronicle.take(SENDING, 12.0)
    readers = [frames.next(1, 2.0) for _ in range(30)]
    assert one is not None
    assert len({id(each.data) for each in readers if each is not None}) == 1
