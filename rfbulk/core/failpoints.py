"""The places at which a transfer can be killed for certain, so that each can be tried.

A failpoint costs nothing unless it is asked for: `RFBULK_FAILPOINT=NAME` or `NAME:N` (the N-th time it is reached)
kills the process there with SIGKILL.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Failpoint(StrEnum):
    """Where a process can be made to die, in the order in which what is moved, a run, a notification meet them."""

    CHECKPOINT_OPENED = "checkpoint-opened"
    SHARD_PLANNED = "shard-planned"
    GRANT_INTENDED = "grant-intended"
    GRANT_RECEIVED = "grant-received"
    GRANT_RECORDED = "grant-recorded"
    ATTEMPT_RECORDED = "attempt-recorded"
    BODY_STARTED = "body-started"
    ANSWER_RECEIVED = "answer-received"
    SENT_RECORDED = "sent-recorded"
    SPLIT_RECORDED = "split-recorded"
    REPACK_RECORDED = "repack-recorded"
    UNSURE_RECORDED = "unsure-recorded"
    SCAN_FINISHED = "scan-finished"
    CONFIRM_STARTED = "confirm-started"
    CONFIRMED = "confirmed"

    PAGE_RECORDED = "page-recorded"
    RESTORE_RECORDED = "restore-recorded"
    FETCH_STARTED = "fetch-started"
    FETCH_STAGED = "fetch-staged"
    FETCH_ENDED = "fetch-ended"
    OTHER_PATH_RECORDED = "other-path-recorded"
    MEMBERS_RECORDED = "members-recorded"
    LAND_STARTED = "land-started"
    MEMBERS_LANDED = "members-landed"
    FILES_SYNCED = "files-synced"
    FETCHED_RECORDED = "fetched-recorded"
    FAILED_RECORDED = "failed-recorded"
    LISTING_FINISHED = "listing-finished"
    MANIFEST_WRITTEN = "manifest-written"

    INGEST_INTENDED = "ingest-intended"
    INGEST_ANSWERED = "ingest-answered"
    INGEST_RECORDED = "ingest-recorded"
    INGEST_SENT = "ingest-sent"
    INGEST_CONFIRMED = "ingest-confirmed"

    JOB_LOOKED_UP = "job-looked-up"
    BATCH_READY = "batch-ready"
    JOB_INTENDED = "job-intended"
    JOB_STARTED = "job-started"
    JOB_ENDED = "job-ended"
    RESULTS_FOUND = "results-found"

    NOTICE_RECEIVED = "notice-received"
    NOTICE_KEPT = "notice-kept"
    FOLLOW_STARTED = "follow-started"
    FOLLOW_ENDED = "follow-ended"
    FOLLOW_RECORDED = "follow-recorded"
    FOLLOW_FAILED = "follow-failed"
    FLOW_STARTED = "flow-started"
    FLOW_ENDED = "flow-ended"
    FLOW_RECORDED = "flow-recorded"


def pass_by(_failpoint: Failpoint) -> None:
    """Go on: what a failpoint does unless a test asked for more."""


OF_EXPORTS: Final = frozenset(
    {
        Failpoint.CHECKPOINT_OPENED,
        Failpoint.PAGE_RECORDED,
        Failpoint.RESTORE_RECORDED,
        Failpoint.FETCH_STARTED,
        Failpoint.FETCH_STAGED,
        Failpoint.FETCH_ENDED,
        Failpoint.OTHER_PATH_RECORDED,
        Failpoint.MEMBERS_RECORDED,
        Failpoint.LAND_STARTED,
        Failpoint.MEMBERS_LANDED,
        Failpoint.FILES_SYNCED,
        Failpoint.FETCHED_RECORDED,
        Failpoint.FAILED_RECORDED,
        Failpoint.LISTING_FINISHED,
        Failpoint.MANIFEST_WRITTEN,
    }
)
OF_RUNS: Final = frozenset(
    {
        Failpoint.JOB_LOOKED_UP,
        Failpoint.BATCH_READY,
        Failpoint.JOB_INTENDED,
        Failpoint.JOB_STARTED,
        Failpoint.JOB_ENDED,
        Failpoint.RESULTS_FOUND,
    }
)
"""Between the upload and the export of a run; in those it meets theirs."""

OF_INGESTS: Final = frozenset(
    {
        Failpoint.CHECKPOINT_OPENED,
        Failpoint.INGEST_INTENDED,
        Failpoint.INGEST_ANSWERED,
        Failpoint.INGEST_RECORDED,
        Failpoint.INGEST_SENT,
        Failpoint.INGEST_CONFIRMED,
    }
)
OF_WEBHOOKS: Final = frozenset(
    {
        Failpoint.NOTICE_RECEIVED,
        Failpoint.NOTICE_KEPT,
        Failpoint.FOLLOW_STARTED,
        Failpoint.FOLLOW_ENDED,
        Failpoint.FOLLOW_RECORDED,
        Failpoint.FOLLOW_FAILED,
        Failpoint.FLOW_STARTED,
        Failpoint.FLOW_ENDED,
        Failpoint.FLOW_RECORDED,
    }
)
"""Of receiving notifications and of what follows from them; a standing flow meets those of runs, too."""

OF_UPLOADS: Final = frozenset(Failpoint) - OF_EXPORTS - OF_RUNS - OF_INGESTS - OF_WEBHOOKS | {
    Failpoint.CHECKPOINT_OPENED
}
