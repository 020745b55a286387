"""Where an upload's images come from: folders and files of this machine, or buckets."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from rfbulk.core.imagecheck import ImageCheck
from rfbulk.core.media import IMAGES, Media
from rfbulk.core.objects import is_bucket
from rfbulk.edge.bucket_source import BucketSource, look_into_object, open_bucket_source
from rfbulk.edge.bucket_stores import Patience
from rfbulk.edge.lines import Call
from rfbulk.edge.path_list import PathList
from rfbulk.edge.source import (
    FileSource,
    look_into_image,
    look_into_video,
    needs_clash_check,
    open_source,
    refuse_clashes,
    resolved,
)
from rfbulk.edge.threads import call_in_thread
from rfbulk.errors import UsageError
from rfbulk.senders.attempts import Pack, pack_checked, pack_files
from rfbulk.senders.bare import pack_bare
from rfbulk.senders.relaying import Damage, pack_bare_object, pack_objects, pack_single_object
from rfbulk.senders.simple import SinglePack, reading_files

if TYPE_CHECKING:
    from rfbulk.core.forms import Form
    from rfbulk.core.selection import Selection
    from rfbulk.pipeline.trouble import Look
    from rfbulk.settings import Names, Settings, UploadOptions

__all__ = ["Opened", "PathList", "Source", "StrPath", "each_of", "open_sources", "patience_of"]

T = TypeVar("T")
StrPath: TypeAlias = str | os.PathLike[str]
Source: TypeAlias = StrPath | PathList
"""A folder, a file, the address of a bucket, or a list of paths."""


def each_of(sources: Source | Sequence[Source]) -> list[Source]:
    """Return sources one by one, however few they are."""
    return [sources] if isinstance(sources, str | os.PathLike | PathList) else list(sources)


@dataclass(frozen=True, slots=True)
class Opened:
    """A source that was looked at. `known_as` is what its checkpoint goes by, however it was spelled."""

    source: FileSource | BucketSource
    known_as: tuple[str, ...]
    damage: Damage = field(default_factory=Damage)

    def pack(self, form: Form, *, checks: bool = False) -> Pack:
        """How its shards are made; with `checks`, of whole images alone."""
        if isinstance(self.source, BucketSource):
            if not form.has_tars:
                return partial(pack_bare_object, self.source)
            return partial(pack_objects, self.source, damage=self.damage if checks else None)
        if not form.has_tars:
            return pack_bare
        return pack_checked if checks else pack_files

    def reading(self, *, checks: bool) -> SinglePack:
        """How images are read that travel one by one; with `checks`, whole ones alone."""
        if isinstance(self.source, BucketSource):
            damage = self.damage if checks else None
            return partial(pack_single_object, self.source, damage=damage)
        return reading_files(self.source.roots, ImageCheck if checks else None)

    def look(self, form: Form, *, checks: bool) -> Look | None:
        """What tells of a file why it is not what its name says, None if that is not asked.

        Of objects that travel in shards, the packer finds it: it is only told again here.
        """
        if form.media == "videos":
            if isinstance(self.source, BucketSource):
                return partial(look_into_object, self.source)
            return partial(look_into_video, self.source)
        if not checks:
            return None
        if isinstance(self.source, BucketSource):
            return self.damage.told_of
        return partial(look_into_image, self.source)

    def close(self) -> None:
        """Let nothing wait for the source any more."""
        if isinstance(self.source, BucketSource):
            self.source.close()

    def most_at_once(self, options: UploadOptions, form: Form) -> int:
        """How many of its shards the memory allows in flight.

        Raises:
            UsageError: more than those were asked for.
        """
        if not isinstance(self.source, BucketSource):
            return options.most_shards_at_once
        most = options.most_relays_at_once if form.has_tars else options.most_streams_at_once
        if options.concurrency is not None and options.concurrency > most:
            what = "shards of a bucket's objects" if form.has_tars else "of a bucket's objects"
            cause = f"--memory allows {most} {what} at once"
            raise UsageError("set", "concurrency", cause=cause, advice="raise --memory, or leave --concurrency out")
        return most


def open_sources(
    sources: Sequence[Source],
    selection: Selection,
    names: Names,
    settings: Settings,
    media: Media = IMAGES,
    *,
    compares_names: bool = True,
) -> Opened:
    """Look at the sources of an upload. Blocks on the disk or the line: call it in a thread.

    `compares_names`: read them as a whole first, where two images could bear one name.

    Raises:
        UsageError: a source cannot be used, or two images would bear one name.
        SourceError, NotAuthorised, TroublePassing: a source cannot be read.
    """
    texts = [each.identity if isinstance(each, PathList) else os.fspath(each) for each in sources]
    buckets = [text for text in texts if is_bucket(text)]
    opened: Opened
    if not buckets:
        opened = Opened(open_source(sources, selection, names, media), resolved(sources))
    elif len(buckets) < len(texts):
        raise UsageError(
            "upload",
            ", ".join(texts),
            cause="folders and buckets do not go into one upload",
            advice="say it once for each, with the same --batch-id",
        )
    else:
        source = open_bucket_source(
            buckets,
            selection,
            names,
            environment=os.environ,
            patience=patience_of(settings),
            policy=settings.retry,
            media=media,
        )
        opened = Opened(source, source.identities)
    if compares_names and needs_clash_check(names, opened.source):
        refuse_clashes(opened.source)
    return opened


async def in_own_thread(work: Callable[[], T]) -> T:
    """Do work that may hang on a disk or a line in a thread that keeps nobody from ending: it is left behind then."""
    return await call_in_thread(work, Call(lambda _count: None), name="rfbulk-open")


def patience_of(settings: Settings) -> Patience:
    """Return how buckets are spoken to: as the service is."""
    return Patience(
        connect_seconds=settings.connect_seconds,
        stall_seconds=settings.stall_seconds,
        retry_seconds=settings.retry.budget_seconds,
        ca_file=settings.ca_file,
        allow_http=settings.allow_http,
    )
