"""Whether a request for the store carries a signature that permits it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfbulk.emulator.answers import StoreError
from rfbulk.emulator.signing import SignatureRefusedError, SignedRequest

if TYPE_CHECKING:
    from aiohttp import web

    from rfbulk.emulator.service import Service


def check_signature(service: Service, request: web.Request) -> None:
    """Let a request pass whose URL was signed for it.

    Raises:
        StoreError: the signature is missing, expired, or for something else; or there is another credential.
    """
    if "Authorization" in request.headers:
        raise StoreError(400, "InvalidArgument", "Only one authentication mechanism may be used.")
    path, _, query = request.raw_path.partition("?")
    signed = SignedRequest(request.method, path, query, list(request.headers.items()))
    try:
        service.signer.verify(signed, service.clock.now())
    except SignatureRefusedError as error:
        raise StoreError(error.status, error.code, error.message) from None
