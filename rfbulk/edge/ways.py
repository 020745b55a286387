"""How stores and the service are reached: by which proxy, trusting whom, how patiently. Opens nothing itself."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import msgspec

from rfbulk.edge.proxies import Proxies, proxies_from
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rfbulk.core.urls import Url


class Ways(msgspec.Struct, frozen=True):
    """The ways out. `cert_file` stands for the system's authorities, as OpenSSL has it; `ca_file` is added to them."""

    proxies: Proxies
    connect_seconds: float
    ca_file: Path | str | None = None
    cert_file: str | None = None

    @property
    def names_authorities(self) -> bool:
        """Whether others than the system's authorities are trusted."""
        return self.ca_file is not None or bool(self.cert_file)

    def proxy_for(self, url: Url) -> Url | None:
        """Return the proxy that leads to a URL, None to go there directly.

        Raises:
            UsageError: the proxy speaks TLS itself, which transfers cannot pass through.
        """
        proxy = self.proxies.lead_to(url.scheme, url.host, url.port)
        if proxy is not None and proxy.scheme != "http":
            raise UsageError(
                "use proxy",
                proxy.place,
                cause="only http:// proxies carry transfers",
                advice="name one",
            )
        return proxy

    def tls_context(self) -> ssl.SSLContext:
        """Return a context that verifies whom it speaks to. Blocks on the disk.

        Raises:
            UsageError: the certificate authorities cannot be read.
        """
        name: Path | str | None = self.cert_file
        try:
            context = ssl.create_default_context(cafile=self.cert_file or None)
            name = self.ca_file
            if self.ca_file is not None:
                context.load_verify_locations(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                "read certificate authorities of",
                str(name),
                cause=error.strerror or "it holds none",
                advice="name a PEM file with SSL_CERT_FILE or --ca-file",
            ) from None
        context.set_alpn_protocols(["http/1.1"])
        return context


def ways_of(environment: Mapping[str, str], *, connect_seconds: float, ca_file: Path | str | None) -> Ways:
    """Read the ways out of environment variables: proxies and `SSL_CERT_FILE`.

    Raises:
        UsageError: a proxy's address is none.
    """
    return Ways(proxies_from(environment), connect_seconds, ca_file, environment.get("SSL_CERT_FILE"))
