"""How any call of the service's API is made: its address, the key in its query, and what each answer means.

The api key goes into the query of a request and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote, urlencode

from rfbulk.core import wire
from rfbulk.core.grants import UrlFault, check_url
from rfbulk.core.redaction import excerpt, spellings
from rfbulk.core.retry_after import is_passing_status, parse_http_date, parse_retry_after
from rfbulk.core.secrets import ApiKey
from rfbulk.errors import NotAuthorised, ProtocolError, RfbulkError, ServiceRefused, TroublePassing, UsageError

if TYPE_CHECKING:
    from rfbulk.edge.transport import Exchanged, Streamed, Transport

T = TypeVar("T")

DATA_STAGING: Final = ("data-staging", "v1", "external")
BATCH_PROCESSING: Final = ("batch-processing", "v1", "external")
MAX_LISTING_BYTES: Final = 64 << 20
MAX_ANSWER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """One call: what it does in words, where it goes below the workspace, and what it carries: JSON, if in one piece.

    `answer_seconds` is for a call that takes longer than others.
    """

    operation: str
    subject: str
    path: tuple[str, ...]
    query: Mapping[str, str | int | None] = field(default_factory=dict)
    method: str = "GET"
    max_bytes: int = MAX_ANSWER_BYTES
    body: bytes | Streamed | None = None
    answer_seconds: float | None = None


class Caller:
    """Makes calls with one api key, one attempt each.

    Raises:
        TroublePassing: no answer, or 408, 429, 5xx; with `status` and `retry_after`.
        NotAuthorised: 401, 402, 403.
        ServiceRefused: any other status that is no success.
        ProtocolError: an answer outside the documented shape.
    """

    def __init__(
        self,
        transport: Transport,
        base_url: str,
        api_key: ApiKey,
        workspace: str | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.allow_http = transport.options.allow_http
        self._transport = transport
        self._base = _checked_base(base_url, allow_http=self.allow_http)
        self._key = api_key
        self._workspace = workspace
        self._now = now
        self.server_offset = 0.0
        """How far the server's clock was ahead of ours at its last answer, in seconds."""

    def server_now(self) -> float:
        """Return the seconds since the epoch by the server's clock, by ours until it has answered once."""
        return self._now() + self.server_offset

    async def workspace(self) -> str:
        """Return the workspace of the key, looked up once."""
        if self._workspace is None:
            call = Call("look up", "the workspace of the api key", ())
            self._workspace = await self._answer(call, wire.parse_workspace)
        return self._workspace

    async def in_workspace(self, service: tuple[str, ...], call: Call, parse: Callable[[bytes], T]) -> T:
        """Make a call of one of the service's APIs in the key's workspace."""
        path = (*service, await self.workspace(), *call.path)
        return await self._answer(replace(call, path=path), parse)

    async def if_there(self, service: tuple[str, ...], call: Call, parse: Callable[[bytes], T]) -> T | None:
        """Make a call, and return None where the service answers that there is no such thing."""
        try:
            return await self.in_workspace(service, call, parse)
        except ServiceRefused as refusal:
            if refusal.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def _answer(self, call: Call, parse: Callable[[bytes], T]) -> T:
        answer = await self._transport.exchange(
            call.method,
            self._url(call),
            operation=call.operation,
            subject=call.subject,
            max_bytes=call.max_bytes,
            body=call.body,
            answer_seconds=call.answer_seconds,
        )
        date = parse_http_date(answer.headers.get("date"))
        if date is not None:
            self.server_offset = date - self._now()
        if answer.status // 100 != _SUCCESS:
            raise self._refusal(answer, call)
        try:
            return parse(answer.body)
        except ProtocolError as error:
            cause, advice = error.cause, error.advice
        if any(spelling.encode() in answer.body for spelling in spellings(self._key.reveal())):
            cause = "the answer is not as documented, and it holds the api key"
        raise ProtocolError(call.operation, call.subject, cause=cause, advice=advice)

    def _url(self, call: Call) -> str:
        path = "".join(f"/{_segment(part)}" for part in call.path) or "/"
        given = {name: value for name, value in call.query.items() if value is not None}
        query = urlencode({"api_key": self._key.reveal(), **given}, quote_via=quote)
        return f"{self._base}{path}?{query}"

    def _refusal(self, answer: Exchanged, call: Call) -> RfbulkError:
        status = answer.status
        said = wire.parse_api_error(answer.body, secrets=(self._key.reveal(),))
        cause = f"the service answered {status}" + (f": {said}" if said else "")
        what = (call.operation, call.subject)
        if is_passing_status(status):
            wait = parse_retry_after(answer.headers.get("retry-after"), server_now=self.server_now())
            return TroublePassing(
                *what, cause=cause, advice="run the same again later", status=status, retry_after=wait
            )
        if status in _UNAUTHORISED:
            return NotAuthorised(*what, cause=cause, advice=_UNAUTHORISED[status])
        return ServiceRefused(*what, cause=cause, advice=_advice(status), status=status)


def page_query(token: str | None, page_size: int | None) -> dict[str, str | int | None]:
    """Return the query that asks for one page of a listing."""
    return {"nextPageToken": token, "pageSize": page_size}


_SUCCESS: Final = 2
_UNAUTHORISED: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "set ROBOFLOW_API_KEY to a valid key of the workspace",
    HTTPStatus.PAYMENT_REQUIRED: "look at the workspace's plan and credits: they do not cover this",
    HTTPStatus.FORBIDDEN: "take a key that permits this, and look at the workspace's plan",
}


def _advice(status: int) -> str:
    if status // 100 == HTTPStatus.MULTIPLE_CHOICES // 100:
        return "is the API's address right? Redirects are not followed"
    if status == HTTPStatus.NOT_FOUND:
        return "is the name right, and the API's address?"
    return "mend what it says, then run the same again"


def _checked_base(text: str, *, allow_http: bool) -> str:
    try:
        parts = check_url(text, allow_http=allow_http)
    except UrlFault as fault:
        raise UsageError(
            "use API at", excerpt(text), cause=str(fault), advice="give an https:// address, or allow plain HTTP"
        ) from None
    if parts.query or parts.fragment:
        raise UsageError(
            "use API at",
            excerpt(text),
            cause="an address of an API ends with its path",
            advice="leave out what stands behind a ? or #",
        )
    return text.rstrip("/")


def _segment(text: str) -> str:
    if text in {"", ".", ".."}:
        raise UsageError(
            "use name", repr(text), cause="it leads to another place of the API", advice="choose another name"
        )
    return quote(text, safe="")
