"""A remote file that is unpacked while it arrives, into a folder of its own in staging.

Members lie there under numbers: no name of the archive touches the disk before all of it has been found sound, and
then it is the caller who chooses where each lands. Of an archive that is not, nothing is left.

A connection that breaks is continued at once, as long as each brings `MARK_BYTES`: what has been unpacked stays.
After a crash an archive begins anew, since the state of its inflater is nowhere but in memory.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from rfbulk.core.checksums import crc32c
from rfbulk.core.fetching import Check, FetchOutcome, FetchResult, Unpacked, UnpackLimits
from rfbulk.core.getting import MARK_BYTES, Continued, judge_continued, mark_of, range_headers
from rfbulk.core.redaction import excerpt
from rfbulk.core.tarstream import ArchiveFault, TarStream
from rfbulk.core.unpacking import Admission, MemberRefused, gunzip, is_gzip
from rfbulk.edge.downlink import GetBroken
from rfbulk.edge.landing import write_all

if TYPE_CHECKING:
    from rfbulk.edge.downlink import Answer
    from rfbulk.receivers.attempt import Attempt
    from rfbulk.receivers.intake import Intake
    from rfbulk.receivers.room import Room

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_BY_LENGTH: Final = frozenset({Check.LENGTH, Check.NONE})


def fetch_archive(attempt: Attempt) -> FetchResult:
    """Fetch the archive and unpack it. Raises whatever an attempt can meet; nothing is staged then."""
    site, staged = attempt.means.site, str(attempt.job.number)
    answer = attempt.ask()
    intake = attempt.take_in(answer)
    folder = site.create_folder(staged)
    try:
        unpacking = Unpacking(attempt.job.number, folder, attempt.means.room, attempt.means.limits)
        unpacking.unpack(_continued(attempt, answer, intake))
        check, detail = _check_of(intake, is_gzip=unpacking.is_gzip)
    except BaseException:
        site.remove(staged)
        raise
    finally:
        os.close(folder)
    if not unpacking.members:
        site.remove_if_empty(staged)
    return replace(
        attempt.result(FetchOutcome.FETCHED, detail),
        check=check,
        members=tuple(unpacking.members),
        refused=tuple(unpacking.refused),
    )


def _continued(attempt: Attempt, answer: Answer, intake: Intake) -> Iterator[memoryview]:
    """Give all pieces of the archive, over as many connections as it takes."""
    mark = mark_of(answer.head, intake.stored, boot="")
    while True:
        begun = intake.received
        try:
            yield from intake.pieces()
        except GetBroken:
            if mark is None or intake.received - begun < MARK_BYTES:
                raise
            rest = attempt.ask(range_headers(mark, intake.received))
            if judge_continued(rest.head, mark, intake.received) is not Continued.REST:
                raise
            intake.go_on_with(rest)
        else:
            return


def _check_of(intake: Intake, *, is_gzip: bool) -> tuple[Check, str]:
    """Tell by what the archive, which is sound, is whole. Raises ArchiveFault if it is not what the store holds."""
    whole = intake.judge()
    if whole.check is None:
        raise ArchiveFault(whole.detail)
    return Check.ARCHIVE if is_gzip and whole.check in _BY_LENGTH else whole.check, whole.detail


class Unpacking:
    """One archive on its way into its folder."""

    def __init__(self, number: int, folder: int, room: Room, limits: UnpackLimits) -> None:
        self.members: list[Unpacked] = []
        self.refused: list[tuple[str, str]] = []
        self.is_gzip = False
        self._number = number
        self._folder = folder
        self._room = room
        self._limits = limits

    def unpack(self, pieces: Iterator[memoryview]) -> None:
        """Unpack it to its end. Raises ArchiveFault, ArchiveUnsafe, NoRoomLeft, OSError, and what `pieces` raises."""
        stream = TarStream(self._inflated(pieces), most_headers=self._limits.most_members)
        admission = Admission(self._limits)
        while (member := stream.next_member()) is not None:
            try:
                path = admission.admit(member)
            except MemberRefused as refused:
                self.refused.append((excerpt(member.name), str(refused)))
                continue
            if path is not None:
                self._write(path, member.size, stream.content())

    def _inflated(self, pieces: Iterator[memoryview]) -> Iterator[bytes | memoryview]:
        """What it is says its beginning: stores unpack a `.tar.gz` on the way, or pack a `.tar`."""
        beginning = b""
        for piece in pieces:
            beginning += bytes(piece)
            if len(beginning) > 1:
                break
        self.is_gzip = is_gzip(beginning[:2])
        whole: Iterator[bytes | memoryview] = itertools.chain([beginning], pieces)
        return gunzip(whole, self._limits) if self.is_gzip else whole

    def _write(self, path: str, size: int, content: Iterator[memoryview]) -> None:
        name = str(len(self.members))
        crc = 0
        descriptor = os.open(name, _NEW, 0o666, dir_fd=self._folder)
        try:
            for piece in content:  # of what comes, room is taken; what a header announces may be a lie
                self._room.take(len(piece))
                write_all(descriptor, piece)
                crc = crc32c(piece, crc)
        finally:
            os.close(descriptor)
        self.members.append(Unpacked(path, f"{self._number}/{name}", size, crc))
