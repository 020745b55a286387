"""Look at every file below a folder and ask for its status: the least that a resume must do.

python benchmarks/scan.py FOLDER
"""

from __future__ import annotations

import os
import sys


def scan(folder: str) -> tuple[int, int]:
    """Return the number of files and of their bytes."""
    files = total_bytes = 0
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    files += 1
                    total_bytes += entry.stat().st_size
    return files, total_bytes


if __name__ == "__main__":
    print(*scan(sys.argv[1]))
