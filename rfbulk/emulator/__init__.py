"""A server of the Data Staging API on this machine: for offline use, tests and benchmarks.

It imports nothing of the rest of rfbulk: a codec shared with the client would hide a shared mistake.

    async with Emulator(EmulatorOptions(store="memory")) as emulator:
        ...  # talk to emulator.url with emulator.api_key
        await emulator.settled()
        emulator.ledger("my-batch").hashes
"""

from rfbulk.emulator.adding import Made, NewFile, NewPart, NewParts
from rfbulk.emulator.faults import Fault
from rfbulk.emulator.faultscript import FaultScript
from rfbulk.emulator.faulttext import parse_fault
from rfbulk.emulator.jobs.options import JobOptions, JobScript
from rfbulk.emulator.ledger import Ledger, LedgerShard
from rfbulk.emulator.options import DownloadOptions, EmulatorOptions
from rfbulk.emulator.server import Emulator, serve
from rfbulk.emulator.webhooks.delivering import Delivery
from rfbulk.emulator.webhooks.options import WebhookOptions

__all__ = [
    "Delivery",
    "DownloadOptions",
    "Emulator",
    "EmulatorOptions",
    "Fault",
    "FaultScript",
    "JobOptions",
    "JobScript",
    "Ledger",
    "LedgerShard",
    "Made",
    "NewFile",
    "NewPart",
    "NewParts",
    "WebhookOptions",
    "parse_fault",
    "serve",
]
