"""The library's front door: `Client`, and a room for each road that leads from it.

`front` is what callers hold, `context` what every call works with; the other rooms each carry one road.
It knows the pipeline, the edge and the senders, and joins them.
"""

from __future__ import annotations

from rfbulk.client.front import Client

__all__ = ["Client"]
