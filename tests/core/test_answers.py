from __future__ import annotations

import pytest

from rfbulk.core.answers import judge_answer
from rfbulk.core.model import Outcome

AZURE_EXPIRED = "Signature not valid in the specified time frame: Start [..] - Expiry [..] - Current [..] Server failed"


@pytest.mark.parametrize(
    ("status", "code", "message", "once_only", "outcome"),
    [
        (200, "", "", False, Outcome.STORED),
        (201, "", "", True, Outcome.STORED),
        (204, "", "", False, Outcome.STORED),
        (412, "PreconditionFailed", "", True, Outcome.ALREADY_THERE),
        (412, "PreconditionFailed", "", False, Outcome.REFUSED),
        (400, "ExpiredToken", "The provided token has expired.", True, Outcome.EXPIRED),
        (403, "AccessDenied", "Request has expired", False, Outcome.EXPIRED),
        (403, "AuthenticationFailed", AZURE_EXPIRED, False, Outcome.EXPIRED),
        (400, "EntityTooLarge", "Your proposed upload is larger than the maximum", True, Outcome.TOO_LARGE),
        (413, "RequestBodyTooLarge", "", False, Outcome.TOO_LARGE),
        (413, "", "", False, Outcome.TOO_LARGE),
        (400, "RequestTimeout", "", False, Outcome.BUSY),
        (400, "IncompleteBody", "", False, Outcome.BUSY),
        (400, "BadDigest", "", False, Outcome.BUSY),
        (409, "OperationAborted", "", False, Outcome.BUSY),
        (408, "", "", False, Outcome.BUSY),
        (429, "SlowDown", "", False, Outcome.BUSY),
        (500, "InternalError", "", False, Outcome.BUSY),
        (503, "ServiceUnavailable", "", True, Outcome.BUSY),
        (401, "", "", False, Outcome.FORBIDDEN),
        (403, "SignatureDoesNotMatch", "", False, Outcome.FORBIDDEN),
        (403, "AuthenticationFailed", "Server failed to authenticate the request.", False, Outcome.FORBIDDEN),
        (400, "InvalidArgument", "", False, Outcome.REFUSED),
        (404, "NoSuchBucket", "", False, Outcome.REFUSED),
        (409, "BlobImmutableDueToPolicy", "", False, Outcome.REFUSED),
        (301, "", "", False, Outcome.REFUSED),
        (308, "", "", False, Outcome.REFUSED),
        (101, "", "", False, Outcome.REFUSED),
    ],
)
def test_the_table_of_answers(status: int, code: str, message: str, once_only: bool, outcome: Outcome) -> None:
    assert outcome == judge_answer(status, code, once_only=once_only, message=message)
