"""Which proxy leads to a host, by the environment's words. Never looks into ~/.netrc."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rfbulk.core.loopback import is_loopback
from rfbulk.core.urls import Url, url_of
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Proxies(msgspec.Struct, frozen=True):
    """A proxy for each scheme, and the hosts that are reached without one. URLs may hold a password."""

    by_scheme: Mapping[str, Url]
    bypass: str

    def __repr__(self) -> str:
        return f"<Proxies for {', '.join(sorted(self.by_scheme))}>"

    def lead_to(self, scheme: str, host: str, port: int) -> Url | None:
        """Return the proxy that leads there, None to go directly. This machine is never reached through a proxy."""
        proxy = self.by_scheme.get(scheme)
        if proxy is None or is_loopback(host):
            return None
        from urllib.request import (  # type: ignore[attr-defined]  # noqa: PLC0415 - the stubs forget it; it loads much
            proxy_bypass_environment,
        )

        hosts = (host, f"{host}:{port}")
        if any(proxy_bypass_environment(host, {"no": self.bypass}) for host in hosts):
            return None
        return proxy


def proxies_from(environment: Mapping[str, str]) -> Proxies:
    """Read `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`, in lower case first.

    `HTTP_PROXY` is not believed in a CGI program, where a request's `Proxy` header sets it.

    Raises:
        UsageError: a proxy is of a kind that is not spoken.
    """
    found = {scheme: _proxy_for(scheme, environment) for scheme in ("http", "https")}
    bypass = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return Proxies({scheme: proxy for scheme, proxy in found.items() if proxy is not None}, bypass)


def _proxy_for(scheme: str, environment: Mapping[str, str]) -> Url | None:
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    if "REQUEST_METHOD" in environment:
        names.remove("HTTP_PROXY") if scheme == "http" else None
    name = next((name for name in names if environment.get(name)), None)
    return None if name is None else _parse(name, environment[name])


def _parse(name: str, text: str) -> Url:
    try:
        proxy = url_of(text if "://" in text else f"http://{text}")
    except ValueError:
        proxy = None
    if proxy is None or proxy.scheme not in {"http", "https"}:
        raise UsageError(
            "use proxy of", name, cause="it is not the address of an HTTP proxy", advice="write it as http://host:port"
        )
    return proxy
