"""One attempt to fetch one remote file: what it has to do it with, how far it came, and the result that says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rfbulk.core.fetching import Check, FetchOutcome, FetchResult, UnpackLimits
from rfbulk.core.getting import is_page, judge_get
from rfbulk.core.retry_after import parse_http_date, parse_retry_after
from rfbulk.receivers.intake import Digest, Intake

if TYPE_CHECKING:
    from rfbulk.core.failpoints import Failpoint
    from rfbulk.core.fetching import FetchJob, Fingerprint
    from rfbulk.edge.downlink import Answer, Tap
    from rfbulk.edge.landing import Site
    from rfbulk.edge.lines import Call
    from rfbulk.edge.threads import Rate
    from rfbulk.receivers.room import Room


@dataclass(frozen=True, slots=True)
class Means:
    """What a thread fetches a group with. `boot` names the start of the system, "" where it has no name."""

    site: Site
    tap: Tap
    room: Room
    call: Call
    rate: Rate
    limits: UnpackLimits
    reach: Callable[[Failpoint], None]
    boot: str
    leftovers: frozenset[str]


class Ended(Exception):
    """An attempt ended without the file, by a result that says why."""

    def __init__(self, result: FetchResult) -> None:
        super().__init__()
        self.result = result


class Attempt:
    """One job in the hands of a thread."""

    def __init__(self, job: FetchJob, means: Means) -> None:
        self.job = job
        self.means = means
        self.held = 0
        self._intake: Intake | None = None

    def ask(self, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for the file. Raises what `Tap.get` raises."""
        return self.means.tap.get(self.job.url, headers)

    def take_in(self, answer: Answer, digest: Digest | None = None) -> Intake:
        """Begin to take in the body of an answer; `digest` is of what is held of the file already.

        Raises:
            Ended: it does not bring the file.
            NoRoomLeft: the disk has no room for it.
        """
        self._held_to(answer, HTTPStatus.OK if digest is None else HTTPStatus.PARTIAL_CONTENT)
        self.means.room.expect(answer.head.length or 0)
        means = self.means
        self.held = digest.size if digest else 0
        self._intake = Intake(answer, means.tap, means.rate, means.call.on_bytes, digest)
        return self._intake

    def result(
        self,
        outcome: FetchOutcome,
        detail: str = "",
        *,
        check: Check = Check.NONE,
        fingerprint: Fingerprint | None = None,
    ) -> FetchResult:
        """Return what the attempt came to, with what it received."""
        if self._intake is None:
            return FetchResult(outcome, detail=detail)
        digest = self._intake.digest
        return FetchResult(
            outcome,
            bytes_received=self._intake.received,
            resumed_from=self.held,
            size=digest.size,
            crc32c=digest.crc32c,
            check=check,
            fingerprint=fingerprint,
            detail=detail,
        )

    def _held_to(self, answer: Answer, status: HTTPStatus) -> None:
        head = answer.head
        if head.status != status:
            raise Ended(self._refusal(answer))
        if is_page(head) and not answer.path.lower().endswith("html"):
            raise Ended(self.result(FetchOutcome.BROKEN, "a web page answered in the store's place"))

    def _refusal(self, answer: Answer) -> FetchResult:
        head = answer.head
        code, message = answer.error()
        told = f"the store answered {head.status} {code}".rstrip()
        now = parse_http_date(head.headers.get("date")) or time.time()
        return replace(
            self.result(judge_get(head.status, code, message), f"{told}: {message}" if message else told),
            status=head.status,
            retry_after=parse_retry_after(head.headers.get("retry-after"), server_now=now),
        )
