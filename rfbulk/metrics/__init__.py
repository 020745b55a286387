"""Prometheus metrics of transfers, made from their events. Needs the extra `metrics`; nothing else of rfbulk does.

An application that has a registry gives it to `Metrics` and hands the result on as `on_event`:

    metrics = Metrics(registry)
    await client.upload_images("photos", batch_id="spring", on_event=metrics)

It must never name a file, a batch or an address in a label: labels are causes, reasons and states, of which there are
few.
"""

from __future__ import annotations

from rfbulk.metrics.watching import Metrics

__all__ = ["Metrics"]
