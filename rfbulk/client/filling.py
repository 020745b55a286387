"""The roads into a batch, as the client offers them: uploads of files, and ingests that the service makes itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rfbulk.events import OnEvent, ignore
from rfbulk.settings import IngestOptions, ObjectOptions, UploadOptions

if TYPE_CHECKING:
    import anyio

    from rfbulk.client.context import Context
    from rfbulk.client.uploading import Source, StrPath
    from rfbulk.core.cluster_report import ClusterReport
    from rfbulk.core.clusters import ClusterOptions
    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.core.references import MediaKind
    from rfbulk.core.report import UploadReport


class Filling:
    """The client's calls that fill a batch. `_context` is what an open client works with."""

    _context: Context

    # uploads

    async def upload_images(
        self,
        source: Source | Sequence[Source],
        batch_id: str,
        *,
        options: UploadOptions | None = None,
        on_event: OnEvent = ignore,
        stop: anyio.Event | None = None,
    ) -> UploadReport:
        """Upload the images of folders, files, buckets or lists of paths into a batch, each exactly once.

        The same call again resumes: what is there already is not sent again, new files are added. Cancelling loses
        nothing. Setting `stop` ends it gently: shards in flight get `options.grace_seconds`.

        Returns the report; partial failures are in it (`has_failures`), by name.

        Raises:
            UsageError, SourceError: nothing was sent.
            NotAuthorised, ServiceRefused, ProtocolError: the service will not have it.
            TroublePassing: the service or the line did not work for the whole retry budget.
            CheckpointBusy, CheckpointDamaged, NoRoom: the checkpoint cannot be used.
            TransferFailed, WaitTimeout: as they say; `report` is attached.
        """
        from rfbulk.client.uploading import upload_images

        return await upload_images(self._context, source, batch_id, options=options, on_event=on_event, stop=stop)

    async def upload_videos(
        self,
        source: Source | Sequence[Source],
        batch_id: str,
        *,
        options: UploadOptions | None = None,
        on_event: OnEvent = ignore,
        stop: anyio.Event | None = None,
    ) -> UploadReport:
        """Upload the videos of folders, files or lists of paths into a batch, each exactly once, to a URL of its own.

        What is no video by its first bytes is named instead of sent. Else all is as with `upload_images`; what
        `options` say of shards is said of single videos.
        """
        from rfbulk.client.uploading import upload_videos

        return await upload_videos(self._context, source, batch_id, options=options, on_event=on_event, stop=stop)

    async def check_cluster(
        self,
        cluster: ClusterOptions,
        source: Source | Sequence[Source] = (),
        *,
        target: StrPath | None = None,
        speed_batch: str | None = None,
        speed_bytes: int = 32 << 20,
    ) -> ClusterReport:
        """Ask a cluster's workers who they are and whether they see a source as it is seen here, and a target.

        With `speed_batch` each sends so many bytes of no meaning into that batch, which should be one for the purpose.

        Raises:
            UsageError: the cluster, the source or the target cannot be used.
            TroublePassing: the cluster cannot be reached, or has no workers.
        """
        from rfbulk.client.cluster_check import check_cluster, grants_of
        from rfbulk.client.sources import each_of

        grant = None if speed_batch is None else grants_of(self._context, speed_batch)
        settings, sources = self._context.settings, each_of(source)
        return await check_cluster(settings, cluster, sources, target=target, speed_bytes=speed_bytes, grant=grant)

    # ingests without upload

    async def ingest_references(
        self,
        references: StrPath,
        batch_id: str,
        media: MediaKind,
        *,
        options: IngestOptions | None = None,
        on_event: OnEvent = ignore,
        stop: anyio.Event | None = None,
    ) -> IngestReport:
        """Let the service fetch files that are elsewhere into a batch, each exactly once.

        `references` is a file of JSON lines, each `{"name": …, "url": "https://…"}`, which is looked at as a whole
        before anything is asked for; or the `https://` address of such a list, which the service fetches. The same
        call again resumes: what was accepted is not asked for again.

        Raises:
            UsageError, SourceError: nothing was asked for; a bad file's first faults are named by line.
            RfbulkError: as `upload_images`; `ingest_report` is attached once anything was asked for.
        """
        from rfbulk.client import ingesting

        return await ingesting.ingest_references(
            self._context, references, batch_id, media, options=options, on_event=on_event, stop=stop
        )

    async def ingest_bucket(
        self,
        source: StrPath | Sequence[StrPath],
        batch_id: str,
        media: MediaKind = "images",
        *,
        objects: ObjectOptions | None = None,
        options: IngestOptions | None = None,
        on_event: OnEvent = ignore,
        stop: anyio.Event | None = None,
    ) -> IngestReport:
        """Let the service fetch a bucket's objects (`s3://…`, `gs://…`, `az://…`) into a batch, each exactly once.

        Their URLs are signed on this machine, with its credentials for the bucket, when they are asked for: everybody
        who sees one may read that object until it ends. The same call again resumes.

        Raises:
            UsageError, SourceError, NotAuthorised: the bucket cannot be read or signed for.
            RfbulkError: as `ingest_references`.
        """
        from rfbulk.client.bucket_ingest import Objects, ingest_bucket

        sources = [source] if isinstance(source, str | os.PathLike) else list(source)
        wanted = Objects(sources, media, objects or ObjectOptions())
        return await ingest_bucket(self._context, wanted, batch_id, options=options, on_event=on_event, stop=stop)

    async def ingest_query(
        self,
        query: str,
        batch_id: str,
        *,
        options: IngestOptions | None = None,
        on_event: OnEvent = ignore,
        stop: anyio.Event | None = None,
    ) -> IngestReport:
        """Let the platform fill a batch with those of its own assets that a RoboQL query finds.

        The same call again asks for nothing new, unless `options.ingest_id` is another. Raises as `ingest_references`.
        """
        from rfbulk.client import ingesting

        return await ingesting.ingest_query(
            self._context, query, batch_id, options=options, on_event=on_event, stop=stop
        )
