"""Whether a host is this machine."""

from __future__ import annotations


def is_loopback(host: str) -> bool:
    """Tell whether a host's name stands for this machine, without asking any resolver."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    from ipaddress import ip_address  # noqa: PLC0415 - most hosts are names, or spelled as below

    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
