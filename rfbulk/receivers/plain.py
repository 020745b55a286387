"""A remote file that lands as it is: written into staging, continued where that pays, checked, moved to its path.

What may be left in staging of one that is not whole is its beginning, `N.part`, if it has `MARK_BYTES` or more and the
store names it by a strong ETag; `N.mark` beside it tells by what to continue, also after a crash. It holds no URL.

Large files are not fetched in several ranges at once: the other files of an export fill the line already, and ranges
that are written side by side can be neither continued by length nor hashed on the way.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import FetchOutcome, FetchResult
from rfbulk.core.getting import MARK_BYTES, Continued, Mark, judge_continued, mark_of, range_headers
from rfbulk.core.hashes import stored_hashes
from rfbulk.edge.landing import write_all
from rfbulk.receivers.attempt import Attempt, Ended
from rfbulk.receivers.intake import Digest

if TYPE_CHECKING:
    from rfbulk.core.fetching import Fingerprint
    from rfbulk.edge.downlink import Answer
    from rfbulk.edge.landing import Site
    from rfbulk.receivers.intake import Intake

_MAX_MARK_BYTES: Final = 4096
_NEVER: Final = 1 << 62


class _Begun(NamedTuple):
    """What staging holds of the file from an earlier attempt, read and hashed."""

    mark: Mark
    digest: Digest


def fetch_plain(attempt: Attempt) -> FetchResult:
    """Fetch the file and put it in its place. Raises whatever an attempt can meet; staging is in order then."""
    begun = _begun(attempt)
    answer = attempt.ask(range_headers(begun.mark, begun.digest.size) if begun else None)
    if begun is not None:
        match judge_continued(answer.head, begun.mark, begun.digest.size):
            case Continued.REST:
                if stored_hashes(answer.head.headers, is_partial=True).needs_md5 and begun.digest.md5 is None:
                    begun = _begun(attempt, with_md5=True)  # the first answer had not told that it would be needed
            case Continued.ASK_ANEW:
                answer.drop()
                answer, begun = attempt.ask(), None
            case Continued.ANEW:
                begun = None
            case Continued.OTHER:
                attempt.take_in(answer)  # says why it ends
    return _receive(attempt, answer, begun)


def _receive(attempt: Attempt, answer: Answer, begun: _Begun | None) -> FetchResult:
    intake = attempt.take_in(answer, begun.digest if begun else None)
    if answer.head.headers.get("content-encoding", "identity").lower() != "identity":
        raise Ended(attempt.result(FetchOutcome.REFUSED, "the store sent it packed, which was not asked for"))
    file = _StagedFile(attempt, intake, answer, begun)
    try:
        file.write()
        whole = intake.judge()
        if whole.check is not None:
            attempt.means.reach(Failpoint.FETCH_STAGED)
            fingerprint = file.place()
            return attempt.result(FetchOutcome.FETCHED, whole.detail, check=whole.check, fingerprint=fingerprint)
    except BaseException:
        file.remove_unless_it_pays()
        raise
    file.remove()
    return attempt.result(FetchOutcome.CORRUPT, whole.detail)


class _StagedFile:
    """The file in staging, and the mark beside it."""

    def __init__(self, attempt: Attempt, intake: Intake, answer: Answer, begun: _Begun | None) -> None:
        self._attempt = attempt
        self._intake = intake
        self._begun = begun
        self._is_marked = begun is not None
        self._part, self._mark = _names(attempt)
        self._room = attempt.means.room
        self._site = attempt.means.site
        self._head = answer.head

    def write(self) -> None:
        """Write all that comes."""
        descriptor = self._open()
        try:
            mark_at = _NEVER if self._is_marked else MARK_BYTES
            for piece in self._intake.pieces():
                self._room.take(len(piece))
                write_all(descriptor, piece)
                if self._intake.digest.size >= mark_at:
                    self._write_mark()
                    mark_at = _NEVER
        finally:
            os.close(descriptor)

    def place(self) -> Fingerprint:
        """Move it to its path."""
        job, digest = self._attempt.job, self._intake.digest
        self._attempt.means.call.go_on()
        found = self._site.place(self._part, job.path, size=digest.size, crc=digest.crc32c, overwrite=job.overwrite)
        if self._is_marked:
            self._site.remove(self._mark)
        return found

    def remove_unless_it_pays(self) -> None:
        """Leave nothing of it, unless it can be continued."""
        if not self._is_marked:
            self._site.remove(self._part)

    def remove(self) -> None:
        """Leave nothing of it."""
        self._site.remove(self._part)
        if self._is_marked:
            self._site.remove(self._mark)

    def _open(self) -> int:
        if self._begun is None:
            if self._mark in self._attempt.means.leftovers:
                self._site.remove(self._mark)  # before the part that it does not belong to
            return self._site.create(self._part)
        descriptor = self._site.open_again(self._part)
        os.ftruncate(descriptor, self._begun.digest.size)
        os.lseek(descriptor, 0, os.SEEK_END)
        return descriptor

    def _write_mark(self) -> None:
        mark = mark_of(self._head, self._intake.stored, boot=self._attempt.means.boot)
        if mark is None:
            return
        descriptor = self._site.create(self._mark)
        try:
            write_all(descriptor, msgspec.json.encode(mark))
        finally:
            os.close(descriptor)
        self._is_marked = True


def _names(attempt: Attempt) -> tuple[str, str]:
    return f"{attempt.job.number}.part", f"{attempt.job.number}.mark"


def _begun(attempt: Attempt, *, with_md5: bool = False) -> _Begun | None:
    """Read what staging holds of the file, if it may be continued. Its last byte is always asked for again."""
    means = attempt.means
    part, name = _names(attempt)
    if part not in means.leftovers or name not in means.leftovers:
        return None
    try:
        mark = _read_mark(means.site, name)
        descriptor = means.site.open_again(part)
    except (OSError, msgspec.MsgspecError):
        return None
    try:
        held = min(os.fstat(descriptor).st_size, mark.total - 1)
        if not mark.is_good_for(held, means.boot):
            return None
        digest = Digest(with_md5=mark.with_md5 or with_md5)
        digest.read(descriptor, held, means.call.go_on)
        return _Begun(mark, digest)
    finally:
        os.close(descriptor)


def _read_mark(site: Site, name: str) -> Mark:
    descriptor = site.open_again(name)
    try:
        return msgspec.json.decode(os.read(descriptor, _MAX_MARK_BYTES), type=Mark)
    finally:
        os.close(descriptor)
