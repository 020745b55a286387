"""A group of remote files, fetched one after the other in one thread over one connection.

Whatever goes wrong with one is told in its result, and the others go on: unless the store or the disk is what is in
trouble. Then the files behind are not tried, and have no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rfbulk.core.fetching import FetchJob, FetchKind, FetchOutcome, FetchResult
from rfbulk.core.tarstream import ArchiveFault, ArchiveUnsafe
from rfbulk.edge.downlink import GetBroken, GetRefused
from rfbulk.edge.landing import PathTaken, trouble_of_disk
from rfbulk.receivers.archive import fetch_archive
from rfbulk.receivers.attempt import Attempt, Ended
from rfbulk.receivers.plain import fetch_plain
from rfbulk.receivers.room import NoRoomLeft

if TYPE_CHECKING:
    from rfbulk.receivers.attempt import Means

_ENDS_GROUP: Final = frozenset({FetchOutcome.BUSY, FetchOutcome.BROKEN, FetchOutcome.NO_ROOM})


def fetch_group(jobs: Sequence[FetchJob], means: Means) -> list[FetchResult]:
    """Fetch files in their order. Results are as many as were tried.

    Raises:
        CalledOff: the group was called off.
        ServiceRefused, NotAuthorised, UsageError: no file can be fetched this way.
    """
    results: list[FetchResult] = []
    for job in jobs:
        results.append(fetch_one(job, means))
        if results[-1].outcome in _ENDS_GROUP:
            break
    return results


def fetch_one(job: FetchJob, means: Means) -> FetchResult:
    """Fetch one file once. Raises what `fetch_group` raises."""
    attempt = Attempt(job, means)
    try:
        return fetch_plain(attempt) if job.kind is FetchKind.PLAIN else fetch_archive(attempt)
    except Ended as ended:
        return ended.result
    except GetBroken as broken:
        return attempt.result(FetchOutcome.BROKEN, broken.detail)
    except GetRefused as refused:
        return attempt.result(FetchOutcome.REFUSED, str(refused))
    except ArchiveFault as fault:
        return attempt.result(FetchOutcome.CORRUPT, str(fault))
    except ArchiveUnsafe as unsafe:
        return attempt.result(FetchOutcome.UNSAFE, str(unsafe))
    except PathTaken:
        return attempt.result(FetchOutcome.TAKEN, "a file of other content lies where it is to land")
    except NoRoomLeft:
        return attempt.result(FetchOutcome.NO_ROOM, "the disk has no room for it beside what is to be left free")
    except OSError as error:
        return attempt.result(*trouble_of_disk(error))
