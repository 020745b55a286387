"""A batch to try exports with: results, pictures and archives, the same at every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from rfbulk.emulator.adding import NewFile, NewPart
from rfbulk.emulator.archives import tar_gz
from rfbulk.emulator.images import sample_image

if TYPE_CHECKING:
    from collections.abc import Sequence

_IMAGES = 24
_SHARDS = 3


def sample_parts() -> dict[str, NewPart]:
    """Return the parts of a sample batch. It takes some milliseconds: call it in a thread."""
    images = {f"sample-{number:03}.png": sample_image(number) for number in range(_IMAGES)}
    names = list(images)
    groups = [names[first::_SHARDS] for first in range(_SHARDS)]
    results = [_file(f"results-{shard}.jsonl", _jsonl(group, images), shard) for shard, group in enumerate(groups)]
    tables = [_file("summary.csv", _csv(names, images), 0)]
    archives = [_archive(shard, {name: images[name] for name in group}) for shard, group in enumerate(groups)]
    return {
        "results": NewPart(results, description="What was found in each image, a line of JSON each"),
        "tables": NewPart(tables, description="The same as a table"),
        "images": NewPart([NewFile(name, content) for name, content in images.items()], description="The images"),
        "archives": NewPart(archives, nested_content_type="images", description="The images, packed"),
    }


def _file(name: str, content: bytes, shard: int) -> NewFile:
    return NewFile(name, content, shard_id=f"shard-{shard}")


def _archive(shard: int, images: dict[str, bytes]) -> NewFile:
    content = tar_gz(sorted(images.items()))
    return NewFile(f"images-{shard}.tar.gz", content, shard_id=f"shard-{shard}", nested_content_type="image")


def _jsonl(names: Sequence[str], images: dict[str, bytes]) -> bytes:
    rows = [{"image": name, "bytes": len(images[name]), "predictions": []} for name in names]
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def _csv(names: Sequence[str], images: dict[str, bytes]) -> bytes:
    lines = ["image,bytes", *(f"{name},{len(images[name])}" for name in names)]
    return "\n".join([*lines, ""]).encode()
