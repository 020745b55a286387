"""Files that appear whole, where they belong: written into a staging folder first, moved when they are complete.

Folders are opened one by one and never through a link, so that nothing lands outside of the target, whatever a path
or a folder that somebody has swapped in says. A file that is there is never replaced unless that is asked for.

Nothing here waits for the disk. What has landed is durable after `sync_file_system`; before, a power cut may take it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
from typing import TYPE_CHECKING, Final, Self

from rfbulk.core.checksums import crc32c
from rfbulk.core.fetching import FetchOutcome, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_OPEN_FOLDERS: Final = 8
"""Folders that one site keeps open: files of one page mostly go to one."""

PIECE_BYTES: Final = 256 << 10

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER_ITSELF: Final = _FOLDER | os.O_NOFOLLOW
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_AGAIN: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})


class PathTaken(Exception):
    """Something else stands where a file was to land. It has not been touched; the staged file is where it was."""


class Site:
    """The target and the staging folder of an export, as one thread sees them for a while. Its methods block.

    At most `2 + MAX_OPEN_FOLDERS` descriptors are held.
    """

    def __init__(self, target: bytes, staging: bytes) -> None:
        """Open both; the staging folder is made if it is not there.

        Raises:
            OSError: the target cannot be opened, or the staging folder not made.
            ValueError: the staging folder is not beneath the target.
        """
        self._inner = _beneath(target, staging)
        self._folders: dict[str, int] = {}
        self._has_links = True
        self._target = os.open(target, _FOLDER)
        try:
            self.staging = self._walk(self._inner, mode=0o700)
        except BaseException:
            os.close(self._target)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back all descriptors."""
        self._close_folders()
        os.close(self.staging)
        os.close(self._target)

    # staging

    def create(self, staged: str) -> int:
        """Return a descriptor of a new staged file. What was left of an earlier one is gone."""
        try:
            return os.open(staged, _NEW, 0o666, dir_fd=self.staging)
        except FileExistsError:
            self.remove(staged)
            return os.open(staged, _NEW, 0o666, dir_fd=self.staging)

    def open_again(self, staged: str) -> int:
        """Return a descriptor of a staged file, to read it and to write on."""
        return os.open(staged, _AGAIN, dir_fd=self.staging)

    def create_folder(self, staged: str) -> int:
        """Return a descriptor of a new, empty staged folder. What was left of an earlier one is gone."""
        try:
            os.mkdir(staged, 0o700, dir_fd=self.staging)
        except FileExistsError:
            self.remove(staged)
            os.mkdir(staged, 0o700, dir_fd=self.staging)
        return os.open(staged, _FOLDER_ITSELF, dir_fd=self.staging)

    def leftovers(self) -> frozenset[str]:
        """Return the names of all that lies in the staging folder."""
        return frozenset(os.listdir(self.staging))  # noqa: PTH208 - a descriptor has no Path

    def remove(self, staged: str) -> None:
        """Remove a staged file, or folder with all that is in it, if it is there."""
        try:
            os.unlink(staged, dir_fd=self.staging)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):  # macOS says the latter of a folder
            shutil.rmtree(staged, dir_fd=self.staging)

    def remove_if_empty(self, staged: str) -> None:
        """Remove a staged folder unless something is in it."""
        with contextlib.suppress(OSError):
            os.rmdir(staged, dir_fd=self.staging)

    def free_bytes(self) -> int:
        """Return how much room the file system has for us."""
        status = os.fstatvfs(self.staging)
        return status.f_bavail * status.f_frsize

    def remove_staging(self) -> None:
        """Remove the staging folder itself, which is empty."""
        os.rmdir(self._inner, dir_fd=self._target)

    # landing

    def place(self, staged: str, path: str, *, size: int, crc: int, overwrite: bool) -> Fingerprint:
        """Move a staged file to its path, and tell by what to know it again.

        `path` is safe, and relative to the target; its folders are made. A file that is there already counts as this
        one if it has the same bytes (`size` and CRC32C): an earlier run may have been killed right behind the move.

        Raises:
            PathTaken: something else is there, and `overwrite` does not say that it may be replaced.
            OSError: it cannot be written there.
        """
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        if overwrite:
            self._replace(staged, folder, name)
        elif not self._link(staged, folder, name):
            self._agree(folder, name, size, crc)
            os.unlink(staged, dir_fd=self.staging)
        return _fingerprint(os.stat(name, dir_fd=folder, follow_symlinks=False))

    def found(self, path: str, *, size: int, crc: int) -> Fingerprint | None:
        """Return the fingerprint of the file at a path if it has these bytes."""
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        try:
            self._agree(folder, name, size, crc)
            return _fingerprint(os.stat(name, dir_fd=folder, follow_symlinks=False))
        except (PathTaken, FileNotFoundError):
            return None

    def _replace(self, staged: str, folder: int, name: str) -> None:
        try:
            os.rename(staged, name, src_dir_fd=self.staging, dst_dir_fd=folder)
        except IsADirectoryError:
            raise PathTaken from None

    def _link(self, staged: str, folder: int, name: str) -> bool:
        """Move a staged file. False if something is there: a link, unlike a rename, is never made over it."""
        if self._has_links:
            try:
                os.link(staged, name, src_dir_fd=self.staging, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._has_links = False  # FAT has none; there the look and the rename are two steps
            else:
                os.unlink(staged, dir_fd=self.staging)
                return True
        if _exists(folder, name):
            return False
        os.rename(staged, name, src_dir_fd=self.staging, dst_dir_fd=folder)
        return True

    def _agree(self, folder: int, name: str, size: int, crc: int) -> None:
        """Return if the file that is there is the same. Raises PathTaken."""
        with contextlib.suppress(OSError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_size == size and _crc32c_of(name, folder) == crc:
                return
        raise PathTaken

    # folders

    def _folder(self, path: str) -> int:
        if not path:
            return self._target
        known = self._folders.get(path)
        if known is None:
            if len(self._folders) >= MAX_OPEN_FOLDERS:
                self._close_folders()
            known = self._folders[path] = self._walk(path)
        return known

    def _walk(self, path: str, *, mode: int = 0o777) -> int:
        """Open a folder beneath the target, each on the way in turn; those that are missing are made."""
        names = path.split("/")
        if ".." in names:
            raise ValueError("a path that is not safe")
        folder = os.dup(self._target)
        for name in names:
            try:
                inner = _enter(name, folder, mode)
            finally:
                os.close(folder)
            folder = inner
        return folder

    def _close_folders(self) -> None:
        while self._folders:
            os.close(self._folders.popitem()[1])


def discard_staging(target: bytes, staging: bytes) -> None:
    """Remove the staging folder with all that is in it. Raises what a `Site` raises."""
    with Site(target, staging) as site:
        for staged in site.leftovers():
            site.remove(staged)
        site.remove_staging()


def trouble_of_disk(error: OSError) -> tuple[FetchOutcome, str]:
    """Tell what becomes of a remote file that met this error of the disk, and why in words."""
    text = error.strerror or str(error)
    if error.errno in _FULL:
        return FetchOutcome.NO_ROOM, text
    if error.errno in _OUT_OF_DESCRIPTORS:
        return FetchOutcome.BROKEN, f"no further file can be opened: {text}"
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return FetchOutcome.UNWRITABLE, "a link or a file stands where a folder should be"
    return FetchOutcome.UNWRITABLE, text


def sync_file_system(folder: bytes) -> None:
    """Return once all that has been written to a folder's file system is on the disk. Blocking.

    Linux does it for the one file system, and tells if anything written to it before was lost. Others do it for all
    of them, and may return before the disk has it.

    Raises:
        OSError: something may not have reached the disk.
    """
    sync = _syncfs()
    if sync is None:
        os.sync()
        return
    descriptor = os.open(folder, _FOLDER)
    try:
        if sync(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`: a disk that is nearly full takes less than it is given."""
    written = os.write(descriptor, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(descriptor, data)


def _syncfs() -> Callable[[int], int] | None:
    function: Callable[[int], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    return function


def _beneath(target: bytes, staging: bytes) -> str:
    front = target.rstrip(b"/") + b"/"
    inner = os.fsdecode(staging.removeprefix(front))
    if not staging.startswith(front) or not inner or ".." in inner.split("/"):
        raise ValueError("the staging folder is not beneath the target")
    return inner


def _enter(name: str, folder: int, mode: int) -> int:
    try:
        return os.open(name, _FOLDER_ITSELF, dir_fd=folder)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # another thread was quicker
            os.mkdir(name, mode, dir_fd=folder)
        return os.open(name, _FOLDER_ITSELF, dir_fd=folder)


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _crc32c_of(name: str, folder: int) -> int:
    value = 0
    descriptor = os.open(name, _READ, dir_fd=folder)
    try:
        while piece := os.read(descriptor, PIECE_BYTES):
            value = crc32c(piece, value)
    finally:
        os.close(descriptor)
    return value


def _fingerprint(status: os.stat_result) -> Fingerprint:
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ino)
