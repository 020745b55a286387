"""Upload a folder by Roboflow's own client, a request an image, however many images there are.

    python rival_single.py FOLDER BATCH          started by the interpreter of `inference-cli`'s environment

By itself the client takes that road for 32 images at most, and packs more of them into shards.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def main(folder: str, batch: str) -> None:
    """Do what its command does, but for that choice."""
    client: Any = importlib.import_module("inference_cli.lib.roboflow_cloud.data_staging.api_operations")
    refuse_another(client)
    client.MIN_IMAGES_TO_FORM_SHARD = sys.maxsize
    client.create_images_batch_from_directory(directory=folder, batch_id=batch, api_key="bench")


def refuse_another(client: object) -> None:
    """Leave with a message if the client does not choose its road by that number: it would be the usual one."""
    if not hasattr(client, "MIN_IMAGES_TO_FORM_SHARD"):
        raise SystemExit("this version of inference-cli chooses between shards and single images in another way")


if __name__ == "__main__":
    main(*sys.argv[1:])
