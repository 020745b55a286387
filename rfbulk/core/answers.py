"""What an answer of the store to a PUT means. One table for Google Cloud Storage, S3 and Azure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from rfbulk.core.model import Outcome
from rfbulk.core.retry_after import is_passing_status

_TOO_LARGE: Final = frozenset({"EntityTooLarge", "MaxMessageLengthExceeded", "RequestBodyTooLarge"})
_GARBLED_ON_THE_WAY: Final = frozenset(
    {"BadDigest", "IncompleteBody", "Md5Mismatch", "OperationAborted", "RequestTimeout", "ConditionalRequestConflict"}
)
_EXPIRED_WORDINGS: Final = ("expired", "not valid in the specified time frame")


def judge_answer(status: int, error_code: str, *, once_only: bool, message: str = "") -> Outcome:
    """Tell what became of the object, from the status, the error code and the error's wording.

    =========== ================================================================== ==============
    status      error                                                              outcome
    =========== ================================================================== ==============
    2xx                                                                            stored
    412         under a once-only grant                                            already-there
    400         `ExpiredToken` (GCS, S3)                                           expired
    400, 403    worded as expired (S3 `AccessDenied`, Azure `AuthenticationFailed`) expired
    413                                                                            too-large
    400         `EntityTooLarge`                                                   too-large
    400, 409    the body was cut or garbled on the way, or a conflict in passing   busy
    408 429 5xx                                                                    busy
    401, 403    any other                                                          forbidden
    3xx, others                                                                    refused
    =========== ================================================================== ==============
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome.STORED
    if status == HTTPStatus.PRECONDITION_FAILED and once_only:
        return Outcome.ALREADY_THERE
    if is_passing_status(status):
        return Outcome.BUSY
    if status in (400, 401, 403, 409, 413):
        return _judge_error(status, error_code, message.lower())
    return Outcome.REFUSED


def _judge_error(status: int, error_code: str, message: str) -> Outcome:
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or error_code in _TOO_LARGE:
        return Outcome.TOO_LARGE
    if error_code == "ExpiredToken" or any(words in message for words in _EXPIRED_WORDINGS):
        return Outcome.EXPIRED
    if status in (400, 409) and error_code in _GARBLED_ON_THE_WAY:
        return Outcome.BUSY
    return Outcome.FORBIDDEN if status in (401, 403) else Outcome.REFUSED
