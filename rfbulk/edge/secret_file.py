"""A secret of this machine, made once and kept in a file that nobody else can read."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from rfbulk.edge.checkpoint_file import make_private_folder
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def read_or_make_secret(path: Path) -> str:
    """Return the secret in a file, which is made if it is not there. Two processes that make it agree on one.

    Raises:
        UsageError: it can be neither read nor made.
    """
    make_private_folder(path.parent)
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with suppress(FileNotFoundError):
            return path.read_text().strip()
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(new, path)
        return path.read_text().strip()
    except OSError as error:
        raise UsageError(
            "keep a secret in",
            str(path),
            cause=str(error.strerror),
            advice="make its folder writable, or choose another --state-dir",
        ) from None
    finally:
        new.unlink(missing_ok=True)
