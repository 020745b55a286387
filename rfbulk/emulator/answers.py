"""How the service and its store say things: JSON bodies, JSON errors, XML errors, times with a zone."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.sax.saxutils import escape

import orjson
from aiohttp import web


class ApiError(Exception):
    """The API refuses a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class StoreError(Exception):
    """The store behind the signed URLs refuses a request."""

    def __init__(self, status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def json_answer(body: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def error_answer(error: ApiError) -> web.Response:
    """Answer as the API does when it refuses."""
    return json_answer({"error": error.message}, error.status)


def store_error_answer(error: StoreError) -> web.Response:
    """Answer as Google Cloud Storage does when it refuses."""
    text = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
    )
    headers = [("Content-Type", "application/xml; charset=UTF-8"), *error.headers]
    return web.Response(body=text.encode(), status=error.status, headers=headers)


def timestamp(seconds: float) -> str:
    """Write a time as the service does, with its zone."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
