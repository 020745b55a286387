"""What a standing flow does for one batch: waits until it is in, starts the job, waits for it, brings results home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec

from rfbulk.client.batches import wait_for_batch
from rfbulk.client.running import RunOptions, RunWorks
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.jobs import made_job_id
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.standing import Flow, flow_for
from rfbulk.errors import TransferFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.client.context import Context
    from rfbulk.core.export_report import ExportReport
    from rfbulk.core.readiness import BatchState
    from rfbulk.events import OnEvent


async def work_off(context: Context, flows: Sequence[Flow], batch: str, on_event: OnEvent) -> str:
    """Carry out the flow for a batch, as far as it has not been, and return in words what it came to.

    The notification that led here is a hint: the service is asked whether the batch is in before a job is paid for.

    Raises:
        RfbulkError: as the steps do. The same again goes on.
    """
    flow = flow_for(flows, batch)
    if flow is None:
        return "no flow is for this batch"
    if await context.persist(lambda: context.api.batch(checked_batch_id(batch)), tell=on_event) is None:
        return "the service knows no such batch"
    works = await _works(context, flow, batch, on_event)
    is_new = False
    is_known = await works.job_is_known()
    context.reach(Failpoint.JOB_LOOKED_UP)
    if not is_known:
        state = await wait_for_batch(
            context, batch, flow.expect, flow.ready_seconds, on_event, quiet_seconds=flow.quiet_seconds
        )
        _refuse_incomplete(batch, state, flow)
        context.reach(Failpoint.BATCH_READY)
        context.reach(Failpoint.JOB_INTENDED)
        is_new = await works.start_job()
        context.reach(Failpoint.JOB_STARTED)
    report = await works.wait_for_job(is_new=is_new)
    context.reach(Failpoint.JOB_ENDED)
    if not report.succeeded:
        return f"job {report.job_id} failed: {'; '.join(report.reasons[:3])}"
    exports = await _bring_home(works)
    files = sum(export.files for export in exports)
    failed = sum(export.failed + export.left for export in exports)
    return f"job {report.job_id} done, {files:,} files in {works.target}" + (f", {failed:,} missing" if failed else "")


async def _works(context: Context, flow: Flow, batch: str, on_event: OnEvent) -> RunWorks:
    workspace = await context.persist(context.api.workspace, tell=on_event)
    definition = msgspec.structs.replace(flow.job, batch_id=batch)
    return RunWorks(
        context=context,
        sources=(),
        definition=definition,
        job_id=made_job_id(definition, workspace),
        workspace=workspace,
        target=Path(flow.folder_for(batch)),
        options=RunOptions(stage=flow.stage, wait_seconds=flow.job_seconds),
        on_event=on_event,
        stop=anyio.Event(),
    )


def _refuse_incomplete(batch: str, state: BatchState, flow: Flow) -> None:
    if (state.is_ready and not state.failed_files) or flow.allow_incomplete:
        return
    named = [*(name for name, _ in state.failed), *(name for name, _ in state.failed_files)]
    raise TransferFailed(
        "start a job on",
        f"batch {batch}",
        cause=f"it is incomplete; failed: {', '.join(named[:5])}",
        advice="mend it, or set allow_incomplete in the flow",
    )


async def _bring_home(works: RunWorks) -> list[ExportReport]:
    batches = await works.output_batches()
    works.context.reach(Failpoint.RESULTS_FOUND)
    return [await works.export(each, is_only=len(batches) == 1) for each in batches]
