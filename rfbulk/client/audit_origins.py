"""Whose files an audit answers for: the checkpoints of this machine for a batch, and the sources behind them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from rfbulk.client.bucket_ingest import Objects, open_objects
from rfbulk.client.context import Context, ingests_dir, uploads_dir
from rfbulk.client.given import selection_from, source_of
from rfbulk.client.sources import Source, open_sources
from rfbulk.core.media import IMAGES, VIDEOS, Media
from rfbulk.core.objects import is_bucket
from rfbulk.core.selection import Selection
from rfbulk.edge.audit_accounts import IngestAccount, ReferencesAccount, SourceAccount, UploadAccount
from rfbulk.edge.bucket_references import BucketReferences
from rfbulk.edge.checkpoint_file import SUFFIX, facts_of
from rfbulk.edge.path_list import PathList
from rfbulk.edge.reference_file import open_reference_file
from rfbulk.edge.source import FileSource, resolved
from rfbulk.errors import CheckpointDamaged, SourceError
from rfbulk.settings import DEFAULT_URL_EXPIRY_SECONDS, Names, ObjectOptions

if TYPE_CHECKING:
    from rfbulk.edge.audit_book import AuditBook

Kind: TypeAlias = Literal["upload", "references", "objects", "open"]
DIGEST_CHARACTERS: Final = 11
"""What a checkpoint's name has behind the batch: a hyphen and ten digits."""

_DAMAGED: Final = {"road": ""}


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What of the sources an audit looks at. What is None is as the upload was told, for what was uploaded from here.

    `look_at_sources`: compare what was sent and what is listed with the sources as they are now. `report_file` gets
    every difference as a line of JSON.
    """

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    recursive: bool | None = None
    names: Names | None = None
    look_at_sources: bool = True
    report_file: Path | None = None


@dataclass(slots=True)
class Origin:
    """The sources of uploads or of an ingest, with the checkpoints that tell of them. Partitions share their sources.

    `given` are sources as the caller named them. Of what is `open`, names cannot be known here: a query's, or those of
    a list that the service fetches.
    """

    number: int
    kind: Kind
    sources: tuple[str, ...]
    checkpoints: list[Path] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    given: list[Source] | None = None
    is_audited: bool = True

    def sent(self, book: AuditBook, pending: set[str]) -> list[UploadAccount | IngestAccount]:
        """What its checkpoints know. `pending`: the shards that the service has not taken in yet, once it said so."""
        if self.kind == "upload":
            return [UploadAccount(path, self.number, book, pending) for path in self.checkpoints]
        return [IngestAccount(path, self.number, book) for path in self.checkpoints]

    def selection(self, options: VerifyOptions) -> Selection:
        """What of its sources is meant."""
        recorded = selection_from(self.facts.get("selection"))
        return Selection(
            recorded.include if options.include is None else options.include,
            recorded.exclude if options.exclude is None else options.exclude,
            recorded.recursive if options.recursive is None else options.recursive,
        )

    def names(self, options: VerifyOptions) -> Names:
        """How its files are named."""
        recorded = self.facts.get("names", "auto")
        known: tuple[Names, ...] = ("auto", "path", "basename")
        if options.names is not None:
            return options.names
        return next((each for each in known if each == recorded), "auto")

    def media(self, content: str) -> Media:
        """Of what its sources are: of images or videos. `content` is what the batch holds."""
        of_videos = "videos" in self.facts.get("road", self.facts.get("kind", content))
        return VIDEOS if of_videos else IMAGES


def origins_of(context: Context, workspace: str, batch: str, given: Sequence[Source]) -> list[Origin]:
    """Find all that this machine has sent into a batch, and put the sources that were named where they belong.

    With some named, what is from others only makes names known. Blocks on the disk.
    """
    found: dict[tuple[str, ...], Origin] = {}
    for folder in (uploads_dir(context.settings), ingests_dir(context.settings)):
        for path in sorted(folder.glob(f"{batch}-*{SUFFIX}")):
            facts = _facts(path, batch)
            whose = facts.get("service"), facts.get("workspace"), facts.get("batch")
            if facts is _DAMAGED or whose == (context.api_url, workspace, batch):
                _add(found, path, facts)
    origins = list(found.values())
    return _with_given(origins, given) if given else origins


def _facts(path: Path, batch: str) -> dict[str, str]:
    """A checkpoint that cannot be read at all is damaged, of which its account will tell, or none of this batch."""
    try:
        return facts_of(path)
    except CheckpointDamaged:
        return _DAMAGED if path.stem[:-DIGEST_CHARACTERS] == batch else {}


def _add(found: dict[tuple[str, ...], Origin], path: Path, facts: dict[str, str]) -> None:
    sources: tuple[str, ...] = tuple(json.loads(facts.get("sources", "[]")))
    kind = _kind(facts, sources)
    origin = found.setdefault((kind, facts.get("road", ""), *sources), Origin(len(found), kind, sources))
    origin.checkpoints.append(path)
    origin.facts |= facts


def _kind(facts: dict[str, str], sources: Sequence[str]) -> Kind:
    if "road" in facts:
        return "upload"
    if facts.get("kind") == "query" or any(each.startswith("list ") for each in sources):
        return "open"
    return "objects" if any(map(is_bucket, sources)) else "references"


def _with_given(origins: list[Origin], given: Sequence[Source]) -> list[Origin]:
    known_as = [_known_as(each) for each in given]
    left = dict(zip(known_as, given, strict=True))
    for origin in origins:
        sources = [_comparable(each) for each in _each_source(origin)]
        origin.is_audited = set(sources) <= set(known_as)
        if origin.is_audited:
            origin.given = [given[known_as.index(each)] for each in sources]
            for each in sources:
                left.pop(each, None)
    if left:
        names = list(left.values())
        is_list = len(names) == 1 and not isinstance(names[0], PathList) and os.fspath(names[0]).endswith(".jsonl")
        kind: Kind = "references" if is_list else "upload"
        origins.append(Origin(len(origins), kind, tuple(left), given=names))
    return origins


def _each_source(origin: Origin) -> list[str]:
    return (
        [part for each in origin.sources for part in each.split(", ")]
        if origin.kind == "objects"
        else [*origin.sources]
    )


def _known_as(source: Source) -> str:
    return _comparable(resolved([source])[0])


def _comparable(identity: str) -> str:
    """A bucket's folder may be written with a `/` behind it or without, and the checkpoint says of which server."""
    return identity.partition(" at http")[0].rstrip("/") if is_bucket(identity) else identity


def open_origin(
    origin: Origin, context: Context, options: VerifyOptions, content: str, book: AuditBook
) -> SourceAccount | ReferencesAccount | None:
    """Look at the sources of an origin. Blocks on the disk or the line; None where there is nothing to look at.

    Raises:
        UsageError, SourceError, NotAuthorised, TroublePassing: they cannot be read.
    """
    if origin.kind == "open" or not origin.sources:
        return None
    if origin.kind == "references":
        return ReferencesAccount(open_reference_file(Path(origin.sources[0])), origin.number, book)
    media, selection = origin.media(content), origin.selection(options)
    if origin.kind == "objects":
        texts = [each.partition(" at http")[0] for each in _each_source(origin)]
        chosen = ObjectOptions(selection.include, selection.exclude, selection.recursive, origin.names(options))
        source = open_objects(Objects(texts, media.kind, chosen), context.settings)
        return ReferencesAccount(BucketReferences(source, DEFAULT_URL_EXPIRY_SECONDS), origin.number, book)
    sources = origin.given or [source_of(each) for each in origin.sources]
    if origin.given is None and any(isinstance(each, PathList) and each.file is None for each in sources):
        lists = tuple(each for each in sources if isinstance(each, PathList))
        return SourceAccount(FileSource((), selection, (), lists), origin.number, book, selection, is_scanned=False)
    try:
        opened = open_sources(sources, selection, origin.names(options), context.settings, media)
    except SourceError as error:
        if origin.given is None:
            error.advice = f"{error.advice}; --no-source compares without it"
        raise
    return SourceAccount(opened.source, origin.number, book, selection)
