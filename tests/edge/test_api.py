from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from rfbulk.core.model import BatchId
from rfbulk.core.secrets import ApiKey
from rfbulk.edge.api import ServiceApi
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.errors import NotAuthorised, ProtocolError, RfbulkError, ServiceRefused, TroublePassing, UsageError

if TYPE_CHECKING:
    from tests.edge.conftest import Connection, Serve

pytestmark = pytest.mark.anyio

KEY = "k3y/c4n4ry+0123456789"
QUOTED_KEY = "k3y%2Fc4n4ry%2B0123456789"
NOON = 1_735_732_800.0
DATE = "Date: Wed, 01 Jan 2025 12:00:00 GMT"
BATCH = BatchId("holidays-1")
OPTIONS = TransportOptions(answer_seconds=5.0, environment={})
PREFIX = "/data-staging/v1/external/acme"
GRANT = {
    "signedURLDetails": {"uploadURL": "https://store.example/o?X-Goog-Signature=x", "extensionHeaders": {"x-a": "b"}}
}


class Service:
    """Answers with what it is told to, and remembers what it was asked."""

    def __init__(self, body: object = None, status: str = "200 OK", *headers: str) -> None:
        self.body = body if isinstance(body, bytes) else orjson.dumps(body)
        self.status = status
        self.headers = headers
        self.asked: list[str] = []
        self.heads: list[bytes] = []

    async def __call__(self, connection: Connection) -> None:
        while True:
            head, _ = await connection.request()
            self.heads.append(head)
            self.asked.append(head.split(b" HTTP/")[0].decode())
            await connection.answer(self.status, self.body, *self.headers)


@asynccontextmanager
async def api_of(
    serve: Serve, service: Service, *, workspace: str | None = "acme", path: str = ""
) -> AsyncIterator[ServiceApi]:
    async with serve(service) as server, open_transport(OPTIONS) as transport:
        base = f"http://127.0.0.1:{server.port}{path}"
        yield ServiceApi(transport, base, ApiKey(KEY), workspace, now=lambda: NOON + 3 * 3600)


CALLS: dict[str, tuple[Callable[[ServiceApi], Awaitable[Any]], object, str]] = {
    "grant": (
        lambda api: api.request_shard_grant(BATCH, "My /?&"),
        GRANT,
        f"POST {PREFIX}/batches/holidays-1/bulk-upload/image-files?api_key={QUOTED_KEY}&displayName=My%20%2F%3F%26",
    ),
    "batch": (
        lambda api: api.batch(BATCH),
        {"batch": {"batchId": "holidays-1"}},
        f"GET {PREFIX}/batches/holidays-1?api_key={QUOTED_KEY}",
    ),
    "count": (
        lambda api: api.count(BATCH, "p 1"),
        {"count": 3},
        f"GET {PREFIX}/batches/holidays-1/count?api_key={QUOTED_KEY}&partName=p%201",
    ),
    "batches": (
        lambda api: api.batches_page("t=", 10),
        {"batches": []},
        f"GET {PREFIX}/batches?api_key={QUOTED_KEY}&nextPageToken=t%3D&pageSize=10",
    ),
    "shards": (
        lambda api: api.shards_page(BATCH),
        {"shards": []},
        f"GET {PREFIX}/batches/holidays-1/shards?api_key={QUOTED_KEY}",
    ),
    "files": (
        lambda api: api.files_page(BATCH, "p", "t", 5),
        {"filesMetadata": []},
        f"GET {PREFIX}/batches/holidays-1/list?api_key={QUOTED_KEY}&partName=p&nextPageToken=t&pageSize=5",
    ),
    "parts": (
        lambda api: api.parts(BATCH),
        {"batchParts": []},
        f"GET {PREFIX}/batches/holidays-1/parts?api_key={QUOTED_KEY}",
    ),
}
every_call = pytest.mark.parametrize(("call", "body", "asked"), CALLS.values(), ids=CALLS)


@every_call
async def test_each_call_asks_what_is_documented(
    serve: Serve, call: Callable[[ServiceApi], Awaitable[Any]], body: object, asked: str
) -> None:
    service = Service(body)
    async with api_of(serve, service) as api:
        await call(api)
    assert service.asked == [asked]


async def test_a_grant_is_a_post_without_a_body(serve: Serve) -> None:
    service = Service(GRANT)
    async with api_of(serve, service) as api:
        grant = await api.request_shard_grant(BATCH, "x")
    assert grant.headers == {"x-a": "b"}
    assert b"\r\nContent-Length: 0\r\n" in service.heads[0]
    assert b"\r\nUser-Agent: rfbulk/" in service.heads[0]


async def test_the_workspace_is_looked_up_once(serve: Serve) -> None:
    service = Service({"workspace": "acme", "batches": []})
    async with api_of(serve, service, workspace=None, path="/api/") as api:
        await api.batches_page()
        await api.batches_page()
        assert await api.workspace() == "acme"
    assert service.asked == [
        f"GET /api/?api_key={QUOTED_KEY}",
        *[f"GET /api{PREFIX}/batches?api_key={QUOTED_KEY}"] * 2,
    ]


@pytest.mark.parametrize(
    ("status", "error", "match"),
    [
        ("401 Unauthorized", NotAuthorised, "ROBOFLOW_API_KEY"),
        ("402 Payment Required", NotAuthorised, "plan and credits"),
        ("403 Forbidden", NotAuthorised, "take a key that permits this"),
        ("404 Not Found", ServiceRefused, "is the name right"),
        ("400 Bad Request", ServiceRefused, "the service answered 400: what a pity"),
        ("409 Conflict", ServiceRefused, "409"),
        ("302 Found", ServiceRefused, "Redirects are not followed"),
        ("408 Request Timeout", TroublePassing, "408"),
        ("429 Too Many Requests", TroublePassing, "429"),
        ("500 Internal Server Error", TroublePassing, "500"),
        ("503 Service Unavailable", TroublePassing, "503: what a pity"),
        ("599 Unheard Of", TroublePassing, "599"),
    ],
)
async def test_each_status_has_its_error(serve: Serve, status: str, error: type[RfbulkError], match: str) -> None:
    async with api_of(serve, Service({"error": "what a pity"}, status)) as api:
        with pytest.raises(error, match=match) as raised:
            await api.shards_page(BATCH)
    assert (raised.value.operation, raised.value.subject) == ("list shards of", "batch holidays-1")
    if not isinstance(raised.value, NotAuthorised):
        assert raised.value.status == int(status[:3])  # type: ignore[attr-defined]  # the two others have it


async def test_what_is_not_there_is_none(serve: Serve) -> None:
    async with api_of(serve, Service({"error": "no such batch"}, "404 Not Found")) as api:
        assert await api.batch(BATCH) is None
        assert await api.count(BATCH) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("Wed, 01 Jan 2025 12:00:30 GMT", 30.0), ("later", None)],
)
async def test_retry_after_is_told_by_the_clock_of_the_server(serve: Serve, header: str, seconds: float | None) -> None:
    """Ours is three hours off here."""
    service = Service({}, "503 Service Unavailable", DATE, f"Retry-After: {header}")
    async with api_of(serve, service) as api:
        with pytest.raises(TroublePassing) as raised:
            await api.count(BATCH)
    assert raised.value.retry_after == seconds


async def test_the_clock_of_the_server_is_learned_from_its_answers(serve: Serve) -> None:
    async with api_of(serve, Service({"count": 1}, "200 OK", DATE)) as api:
        assert api.server_now() == NOON + 3 * 3600
        await api.count(BATCH)
        assert api.server_now() == NOON
        assert api.server_offset == -3 * 3600


@every_call
@pytest.mark.parametrize(
    "nonsense", [b"", b"<html>Bad Gateway</html>", b'{"zzz": 1}', b"[" * 3000, b"\x00\xff", b"null"]
)
async def test_success_with_nonsense_is_a_protocol_error(
    serve: Serve, call: Callable[[ServiceApi], Awaitable[Any]], body: object, asked: str, nonsense: bytes
) -> None:
    async with api_of(serve, Service(nonsense)) as api:
        with pytest.raises(ProtocolError) as raised:
            await call(api)
    assert raised.value.subject
    assert len(str(raised.value)) < 500


async def test_an_answer_beyond_its_limit_is_a_protocol_error(serve: Serve) -> None:
    async with api_of(serve, Service(b" " * ((1 << 20) + 1))) as api:
        with pytest.raises(ProtocolError, match="more than 1048576 bytes"):
            await api.count(BATCH)


@pytest.mark.parametrize(
    "base",
    [
        "http://api.example",
        "ftp://api.example",
        "https://user:c4n4ry@api.example",
        "https://api.example/?a=b",
        "https://api.example/#a",
        "api.example",
        "",
    ],
)
async def test_an_address_that_is_none_is_an_error_before_anything_is_sent(base: str) -> None:
    async with open_transport(OPTIONS) as transport:
        with pytest.raises(UsageError) as raised:
            ServiceApi(transport, base, ApiKey(KEY))
    assert "c4n4ry" not in str(raised.value)


async def test_plain_http_to_another_machine_needs_to_be_allowed() -> None:
    async with open_transport(TransportOptions(allow_http=True, environment={})) as transport:
        ServiceApi(transport, "http://api.example/base/", ApiKey(KEY))


@pytest.mark.parametrize("name", ["..", ".", ""])
async def test_a_name_cannot_lead_to_another_place_of_the_api(serve: Serve, name: str) -> None:
    service = Service({"batches": []})
    async with api_of(serve, service, workspace=name) as api:
        with pytest.raises(UsageError):
            await api.batches_page()
    assert not service.asked


async def test_an_odd_workspace_stays_one_segment(serve: Serve) -> None:
    service = Service({"batches": []})
    async with api_of(serve, service, workspace="a/../b?c#d e") as api:
        await api.batches_page()
    assert service.asked[0].startswith("GET /data-staging/v1/external/a%2F..%2Fb%3Fc%23d%20e/batches?")


@pytest.mark.parametrize(
    "echo",
    [
        f'{{"error": "no key {KEY}"}}',
        f"<html>no key {KEY}</html>",
        f"<a href='/x?api_key={QUOTED_KEY}'>",
        f'{{"error": "see https://api.example/x?k={QUOTED_KEY}"}}',
        f"no key {QUOTED_KEY}",
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "401 Unauthorized", "503 Busy", "302 Found"])
async def test_a_service_that_echoes_the_key_does_not_get_it_shown(
    serve: Serve, caplog: pytest.LogCaptureFixture, echo: str, status: str
) -> None:
    caplog.set_level(logging.DEBUG)
    async with api_of(serve, Service(echo.encode(), status)) as api:
        with pytest.raises(RfbulkError) as raised:
            await api.count(BATCH)
    error = raised.value
    for text in (str(error), repr(error), str(error.args), caplog.text, repr(api)):
        assert KEY not in text
        assert QUOTED_KEY not in text
    assert error.__cause__ is None
