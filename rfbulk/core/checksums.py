"""CRC32C (Castagnoli), which every store knows: 14 GB/s by the processor's own instruction.

The C function of the package `crc32c` is loaded alone. The package itself loads another sixty modules to tell its
version: 17 ms and 2 MB in each process that sends.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from crc32c import crc32c as crc32c  # noqa: PLC0414 - said to be ours to give on
else:

    def _loaded() -> ModuleType:
        """Return the C module, or the package where that is no file of its own (a frozen program)."""
        package = PathFinder.find_spec("crc32c")
        inner = package and PathFinder.find_spec("crc32c._crc32c", package.submodule_search_locations)
        if inner is None:
            import crc32c as whole  # noqa: PLC0415 - the way round

            return whole
        module = module_from_spec(inner)
        inner.loader.exec_module(module)
        return module

    crc32c = _loaded().crc32c
