"""A process of its own that uses the library, with a shorter patience than the command offers.

    python -m tests.chaos.driver upload FOLDER BATCH OPTIONS    or    export BATCH FOLDER OPTIONS

OPTIONS is JSON: fields of the options of that transfer, and `stall_seconds`, `budget_seconds`. The report comes out as
JSON. The service and the key are in the environment, as for the command.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from rfbulk import Client, ExportOptions, RfbulkError, Settings, UploadOptions
from rfbulk.core.retry import RetryPolicy


def main() -> int:
    road, first, second, text = sys.argv[1:]
    try:
        report = asyncio.run(carry_out(road, first, second, json.loads(text)))
    except RfbulkError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - it is a program
        return 1
    print(msgspec.json.encode(report).decode())  # noqa: T201
    return 0


async def carry_out(road: str, first: str, second: str, given: dict[str, Any]) -> object:
    """Upload or export, and return what the test wants to know."""
    budget = given.pop("budget_seconds", 60.0)
    authority = given.pop("ca_file", None)
    settings = Settings(
        api_url=os.environ["ROBOFLOW_API_URL"],
        state_dir=Path(os.environ["RFBULK_STATE_DIR"]),
        stall_seconds=given.pop("stall_seconds", 60.0),
        retry=RetryPolicy(first_seconds=0.05, cap_seconds=0.2, budget_seconds=budget),
        ca_file=Path(authority) if authority else None,
    )
    async with Client(settings=settings) as client:
        if road == "upload":
            sent = await client.upload_images(first, second, options=UploadOptions(**given))
            return {
                "sent": sent.sent,
                "planned": sent.planned,
                "is_confirmed": sent.is_confirmed,
                "closes": sent.closes,
                "has_failures": sent.has_failures,
                "retries": dict(sent.retries),
            }
        found = await client.export(first, second, options=ExportOptions(**given))
        return {"closes": found.closes, "has_failures": found.has_failures, "retries": dict(found.retries)}


if __name__ == "__main__":
    sys.exit(main())
