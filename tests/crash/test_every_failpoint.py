"""No failpoint is named in vain: each is died at by some case of the tests beside this one."""

from __future__ import annotations

from rfbulk.core.failpoints import OF_EXPORTS, OF_INGESTS, OF_RUNS, OF_UPLOADS, OF_WEBHOOKS, Failpoint
from tests.crash import test_ingests as ingests
from tests.crash import test_roads as roads
from tests.crash import test_run as runs
from tests.crash import test_webhook_failpoints as webhooks


def test_every_failpoint_is_died_at_by_some_case() -> None:
    """Uploads, exports and ingests go through whole sets; runs, roads and webhooks through lists of their own."""
    listed = {case.split(":", maxsplit=1)[0] for case in webhooks.NOTICES} | webhooks.OF_FLOWS | set(runs.PLACES)
    listed |= {failpoint for way in roads.WAYS.values() for failpoint in way.failpoints}
    assert set(Failpoint) == OF_UPLOADS | OF_EXPORTS | OF_INGESTS | listed
    assert ingests.REPEATED < OF_INGESTS


def test_the_sets_are_those_of_their_roads_alone() -> None:
    """A new failpoint falls to the uploads, whose test fails at once if no upload meets it."""
    shared = {Failpoint.CHECKPOINT_OPENED}
    sets = [OF_UPLOADS, OF_EXPORTS, OF_INGESTS, OF_RUNS, OF_WEBHOOKS]
    assert sum(len(each - shared) for each in sets) == len(set(Failpoint) - shared)
    assert set(runs.PLACES) >= OF_RUNS
