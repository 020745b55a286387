"""The forms in which files travel: many images in a tar, one image in a request of its own, one video as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rfbulk.core.planning import Planner, SinglePlanner
from rfbulk.core.tarlayout import tar_bytes

if TYPE_CHECKING:
    from rfbulk.core.model import Entry
    from rfbulk.core.references import MediaKind
    from rfbulk.core.wire import BatchMetadata


@dataclass(frozen=True, slots=True)
class Form:
    """How an upload's files travel. What is sent at once is a shard in each form, if only of one file.

    `road` names it in a checkpoint. `has_tars`: a shard is a tar, which the service lists as such. `has_grants`: it
    goes to a signed URL. `suggested` is how many files the service recommends for a batch at the most (None: any
    number). `rounds` is how often what turned out absent is sent again.
    """

    road: str
    media: MediaKind
    has_tars: bool = False
    has_grants: bool = True
    suggested: int | None = None
    rounds: int = 3

    def planner(self, *, max_images: int, max_bytes: int, trailer: bytes) -> Planner | SinglePlanner:
        """Return what cuts files into shards."""
        if self.has_tars:
            return Planner(max_images=max_images, max_bytes=max_bytes, trailer=trailer)
        return SinglePlanner(max_bytes=max_bytes)

    def length(self, entries: Sequence[Entry], trailer: bytes) -> int:
        """Return how many bytes a shard of these files has on the wire."""
        return tar_bytes(entries, trailer) if self.has_tars else sum(entry.size for entry in entries)

    def unfit(self, batch: BatchMetadata) -> str:
        """Tell why a batch cannot take files in this form, "" if it can."""
        if batch.content_type not in {"", self.media}:
            return f"it holds {batch.content_type}, and these are {self.media}"
        if self.has_tars and batch.batch_type == "simple-batch":
            return "it was filled by single uploads, which the service does not mix with shards"
        if not self.has_grants and batch.batch_type == "sharded-batch":
            return "it holds shards, which the service does not mix with single uploads"
        return ""


SHARDS: Final = Form("upload-images", "images", has_tars=True)
SINGLES: Final = Form("upload-images-one-by-one", "images", has_grants=False, suggested=5000, rounds=10)
VIDEOS: Final = Form("upload-videos", "videos", suggested=1000)
