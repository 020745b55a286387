"""The JSON that asks for a batch to be made."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rfbulk.emulator.adding import Content, Made, NewBatch, NewFile, NewPart
from rfbulk.emulator.state import SIMPLE_BATCH


class _File(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    name: str
    text: str | None = None
    base64: bytes | None = None
    size: int | None = None
    seed: int = 0
    path: str | None = None
    shard_id: str | None = None
    content_type: str | None = None
    nested_content_type: str | None = None


class _Part(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    files: list[_File]
    content_type: str | None = None
    nested_content_type: str | None = None
    description: str | None = None
    part_type: str = SIMPLE_BATCH


class _Batch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    batch_id: str
    parts: dict[str, _Part] | None = None
    files: list[_File] = []
    display_name: str | None = None
    content_type: str | None = None


def read_new_batch(body: bytes) -> NewBatch:
    """Read the body of a request.

    Raises:
        ValueError: it is of another shape, or a file has no content or more than one.
    """
    asked = msgspec.json.decode(body, type=_Batch)
    parts = None if asked.parts is None else {name: _part(part) for name, part in asked.parts.items()}
    return NewBatch(
        asked.batch_id, parts, [_file(each) for each in asked.files], asked.display_name, asked.content_type
    )


def _part(asked: _Part) -> NewPart:
    files = [_file(each) for each in asked.files]
    return NewPart(files, asked.content_type, asked.nested_content_type, asked.description, asked.part_type)


def _file(asked: _File) -> NewFile:
    contents: list[Content] = []
    if asked.text is not None:
        contents.append(asked.text.encode())
    if asked.base64 is not None:
        contents.append(asked.base64)
    if asked.size is not None:
        contents.append(Made(asked.size, asked.seed))
    if asked.path is not None:
        contents.append(Path(asked.path))
    if len(contents) != 1:
        raise ValueError(f"file {asked.name!r} needs one of text, base64, size and path")
    return NewFile(asked.name, contents[0], asked.shard_id, asked.content_type, asked.nested_content_type)
