from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from rfbulk.core.jobs import JobId
from rfbulk.core.secrets import ApiKey
from rfbulk.edge.calling import Caller
from rfbulk.edge.jobs_api import JobsApi
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.errors import ProtocolError, ServiceRefused, TroublePassing

if TYPE_CHECKING:
    from tests.edge.conftest import Connection, Serve

pytestmark = pytest.mark.anyio

KEY = "k3y/c4n4ry+0123456789"
QUOTED_KEY = "k3y%2Fc4n4ry%2B0123456789"
PREFIX = "/batch-processing/v1/external/acme"
JOB = JobId("j-1")
BODY = {"type": "simple-image-processing-v1", "text": "ä"}


class Service:
    """Answers with what it is told to, and remembers what it was asked."""

    def __init__(self, body: object = None, status: str = "200 OK") -> None:
        self.body = body if isinstance(body, bytes) else orjson.dumps(body)
        self.status = status
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    async def __call__(self, connection: Connection) -> None:
        while True:
            head, body = await connection.request()
            self.heads.append(head.decode())
            self.bodies.append(body)
            self.asked.append(head.split(b" HTTP/")[0].decode())
            await connection.answer(self.status, self.body)


@asynccontextmanager
async def api_of(serve: Serve, service: Service) -> AsyncIterator[JobsApi]:
    options = TransportOptions(answer_seconds=5.0, environment={})
    async with serve(service) as server, open_transport(options) as transport:
        yield JobsApi(Caller(transport, f"http://127.0.0.1:{server.port}", ApiKey(KEY), "acme"))


CALLS: dict[str, tuple[Callable[[JobsApi], Awaitable[Any]], object, str]] = {
    "create": (
        lambda api: api.create_job(JOB, BODY, "May &"),
        {},
        f"POST {PREFIX}/jobs/j-1?api_key={QUOTED_KEY}&name=May%20%26",
    ),
    "job": (lambda api: api.job(JOB), {"job": {"jobId": "j-1"}}, f"GET {PREFIX}/jobs/j-1?api_key={QUOTED_KEY}"),
    "jobs": (
        lambda api: api.jobs_page("t=", 10),
        {"jobs": []},
        f"GET {PREFIX}/jobs?api_key={QUOTED_KEY}&nextPageToken=t%3D&pageSize=10",
    ),
    "stages": (lambda api: api.stages(JOB), {"stages": []}, f"GET {PREFIX}/jobs/j-1/stages?api_key={QUOTED_KEY}"),
    "tasks": (
        lambda api: api.tasks_page(JOB, "s 1/?", "t"),
        {"tasks": []},
        f"GET {PREFIX}/jobs/j-1/stages/s%201%2F%3F/tasks?api_key={QUOTED_KEY}&nextPageToken=t",
    ),
    "logs": (
        lambda api: api.logs_page(JOB, "error", "t", 5),
        {"logs": []},
        f"GET {PREFIX}/jobs/j-1/logs?api_key={QUOTED_KEY}&severity=error&nextPageToken=t&pageSize=5",
    ),
    "abort": (lambda api: api.abort_job(JOB), {}, f"POST {PREFIX}/jobs/j-1/abort?api_key={QUOTED_KEY}"),
    "restart": (lambda api: api.restart_job(JOB, BODY), {}, f"POST {PREFIX}/jobs/j-1/restart?api_key={QUOTED_KEY}"),
}
every_call = pytest.mark.parametrize(("call", "body", "asked"), CALLS.values(), ids=CALLS)


@every_call
async def test_each_call_asks_what_is_documented(
    serve: Serve, call: Callable[[JobsApi], Awaitable[Any]], body: object, asked: str
) -> None:
    service = Service(body)
    async with api_of(serve, service) as api:
        await call(api)
    assert service.asked == [asked]


@pytest.mark.parametrize("name", ["create", "restart"])
async def test_a_body_goes_as_json(serve: Serve, name: str) -> None:
    service = Service({})
    async with api_of(serve, service) as api:
        await CALLS[name][0](api)
    assert orjson.loads(service.bodies[0]) == BODY
    assert "\r\nContent-Type: application/json\r\n" in service.heads[0]


@pytest.mark.parametrize("name", ["abort", "restart"])
async def test_a_call_without_a_body_sends_none(serve: Serve, name: str) -> None:
    service = Service({})
    async with api_of(serve, service) as api:
        await (api.abort_job(JOB) if name == "abort" else api.restart_job(JOB, None))
    assert service.bodies == [b""]
    assert "\r\nContent-Length: 0\r\n" in service.heads[0]
    assert "Content-Type" not in service.heads[0]


@pytest.mark.parametrize("body", [b"", b"ok", b'{"status":"ok"}', b"[]"])
@pytest.mark.parametrize("name", ["create", "abort", "restart"])
async def test_success_is_success_whatever_it_says(serve: Serve, name: str, body: bytes) -> None:
    async with api_of(serve, Service(body)) as api:
        await CALLS[name][0](api)


@pytest.mark.parametrize("name", ["job", "stages", "tasks"])
async def test_what_is_not_there_is_none(serve: Serve, name: str) -> None:
    async with api_of(serve, Service({"error": "no such job"}, "404 Not Found")) as api:
        assert await CALLS[name][0](api) is None


@pytest.mark.parametrize("name", ["job", "jobs", "stages", "tasks", "logs"])
async def test_success_with_nonsense_is_a_protocol_error(serve: Serve, name: str) -> None:
    async with api_of(serve, Service(b"<html>")) as api:
        with pytest.raises(ProtocolError):
            await CALLS[name][0](api)


async def test_a_refusal_keeps_its_status_and_its_words_but_not_the_key(serve: Serve) -> None:
    async with api_of(serve, Service({"error": f"not with {KEY}"}, "409 Conflict")) as api:
        with pytest.raises(ServiceRefused, match="start job j-1") as raised:
            await api.create_job(JOB, BODY, None)
    assert raised.value.status == 409
    assert KEY not in str(raised.value)


async def test_too_many_requests_pass_with_what_the_service_asks_for(serve: Serve) -> None:
    async with api_of(serve, Service({"error": "credits"}, "429 Too Many Requests")) as api:
        with pytest.raises(TroublePassing) as raised:
            await api.create_job(JOB, BODY, None)
    assert raised.value.status == 429
