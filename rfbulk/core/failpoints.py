"""The places at which an upload can be killed for certain, so that each can be tried.

A failpoint costs nothing unless it is asked for: `RFBULK_FAILPOINT=NAME` or `NAME:N` (the N-th time it is reached)
kills the process there with SIGKILL.
"""

from __future__ import annotations

from enum import StrEnum


class Failpoint(StrEnum):
    """Where a process can be made to die, in the order in which a shard meets them."""

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
