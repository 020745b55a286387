from __future__ import annotations

import subprocess
import sys

import google_crc32c
import pytest

from rfbulk.core.checksums import crc32c


@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(256)) * 5_000])
def test_it_is_the_crc32c_of_the_stores(data: bytes) -> None:
    assert google_crc32c.value(data) == crc32c(data)


def test_it_goes_on_where_it_was_and_takes_what_needs_no_copy() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4 has the polynomial; the value is the catalogue's check
    assert crc32c(memoryview(bytearray(b"6789")), crc32c(b"12345")) == 0xE3069283


def test_the_package_is_not_loaded_for_it_and_serves_where_its_c_module_is_no_file() -> None:
    program = """
import sys
from importlib.machinery import PathFinder

def find(name, *rest):
    return None if name == "crc32c._crc32c" and "crc32c" not in sys.modules else found(name, *rest)

import rfbulk.core.checksums as alone
assert "crc32c" not in sys.modules and alone.crc32c(b"123456789") == 0xE3069283
del sys.modules["rfbulk.core.checksums"]
found, PathFinder.find_spec = PathFinder.find_spec, find
import rfbulk.core.checksums as around
assert "crc32c" in sys.modules and around.crc32c(b"123456789") == 0xE3069283
"""
    subprocess.run([sys.executable, "-c", program], check=True)
