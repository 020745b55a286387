"""How fast a worker's line to the store is: bytes of chance, sent as a shard would be. Runs in the worker."""

from __future__ import annotations

import os
import time
from typing import Final

import msgspec

from rfbulk.cluster.crafts import ways_for
from rfbulk.cluster.parcels import Manner, Parcel, decode_as
from rfbulk.core.model import Grant
from rfbulk.core.tarlayout import END, member_head, padding
from rfbulk.edge.answers import PutBroken
from rfbulk.edge.lines import Call
from rfbulk.edge.uplink import Uplink
from rfbulk.errors import RfbulkError

MEMBER_BYTES: Final = 8 << 20
CHUNK_BYTES: Final = 512 << 10


class Measure(msgspec.Struct, frozen=True):
    """So many bytes are to be sent under a grant. `name` begins the names of the images that they pretend to be."""

    manner: Manner
    grant: Grant
    size: int
    name: str


class Measured(msgspec.Struct, frozen=True):
    """What it took, and why it went wrong if it did."""

    size: int
    seconds: float
    fault: str = ""


def measure(parcel: Parcel, _task: str) -> bytes:
    """Send as ordered, as a task of Dask. Never raises."""
    order = decode_as(parcel.open(), Measure)
    body = tar_of_chance(order.name, order.size)
    view, place = memoryview(body), 0

    def next_chunk() -> memoryview:
        nonlocal place
        chunk = view[place : place + CHUNK_BYTES]
        place += len(chunk)
        return chunk

    began = time.monotonic()
    try:
        uplink = Uplink(ways_for(order.manner))
        try:
            answer = uplink.put(
                order.grant, len(body), next_chunk, Call(lambda _count: None), stall_seconds=order.manner.stall_seconds
            )
        finally:
            uplink.close()
        fault = "" if answer.status // 100 == 2 else f"the store answered {answer.status} {answer.error_code}".rstrip()
    except PutBroken as broken:
        fault = broken.detail
    except RfbulkError as error:
        fault = str(error)
    except Exception as error:  # noqa: BLE001 - told in the table
        fault = type(error).__name__
    return msgspec.msgpack.encode(Measured(len(body), time.monotonic() - began, fault))


def tar_of_chance(name: str, size: int) -> bytes:
    """Return a tar of images by their names alone, of about so many bytes in all. No line can compress it."""
    pieces, left, number = [], size, 0
    while left > 0:
        content = b"\xff\xd8" + os.urandom(min(left, MEMBER_BYTES))
        pieces += [member_head(f"{name}-{number}.jpg", len(content), 0), content, padding(len(content))]
        left -= len(content)
        number += 1
    return b"".join([*pieces, END])
