"""When a job may be started on what an upload has left behind."""

from __future__ import annotations

from typing import Any

import pytest

from rfbulk.core.model import RefusalReason
from rfbulk.core.report import Failure, UploadReport
from rfbulk.core.run_report import fault_of_batch

WHOLE: dict[str, Any] = {"planned": 9, "sent": 9, "is_confirmed": True}


@pytest.mark.parametrize(
    ("changes", "fault", "fault_if_allowed"),
    [
        ({}, "", ""),
        ({"planned": 0, "sent": 0}, "no image", "no image"),
        ({"sent": 8, "left": 1}, "still to be sent", "still to be sent"),
        ({"is_confirmed": False}, "not confirmed", "not confirmed"),
        ({"is_confirmed": False, "ingest_failed": True, "ingest_detail": "bad tar"}, "bad tar", ""),
        ({"is_confirmed": False, "sent": 8, "failed": 1}, "incomplete", ""),
        ({"sent": 8, "failed": 1}, "incomplete", ""),
        ({"sent": 8, "quarantined": 1}, "incomplete", ""),
        ({"refused": 1}, "incomplete", ""),
        ({"changed": 1}, "incomplete", ""),
        ({"doubled": ["a.jpg"]}, "incomplete", ""),
        ({"skipped": 3, "failures": [Failure("a", "a", RefusalReason.NOT_AN_IMAGE)]}, "", ""),
    ],
)
def test_each_row_of_the_table(changes: dict[str, Any], fault: str, fault_if_allowed: str) -> None:
    upload = UploadReport(batch_id="b", **(WHOLE | changes))
    for allow, expected in ((False, fault), (True, fault_if_allowed)):
        told = fault_of_batch(upload, allow_incomplete=allow)
        assert bool(told) is bool(expected)
        assert expected in told
