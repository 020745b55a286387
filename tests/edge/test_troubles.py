from __future__ import annotations

import socket
import ssl

import pytest

from rfbulk.core.heads import HeadFault
from rfbulk.core.urls import Url, url_of
from rfbulk.edge.lines import LineEnded
from rfbulk.edge.troubles import Trouble, TroubleKind, TunnelRefused, line_trouble_of
from rfbulk.errors import NotAuthorised, ProtocolError, RfbulkError, ServiceRefused, TroublePassing
from tests.edge.conftest import SIGNATURE

STORE = url_of(f"https://store.example/o?sig={SIGNATURE}")
PROXY = url_of(f"http://user:{SIGNATURE}@gate.example:3128")
VIA = "store.example:443 through the proxy gate.example:3128"


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "kind", "connecting", "connected"),
    [
        (untrusted(), TroubleKind.CERTIFICATE, "certificate of store.example:443 is not", "self-signed"),
        (TunnelRefused(407), TroubleKind.PROXY, "the proxy answered 407", "the proxy answered 407"),
        (TunnelRefused(403), TroubleKind.PROXY, "the proxy answered 403", "the proxy answered 403"),
        (TunnelRefused(502), TroubleKind.BROKEN, "the proxy answered 502", "the proxy answered 502"),
        (HeadFault(SIGNATURE), TroubleKind.GARBLED, f"{VIA} does not", "443 does not speak HTTP"),
    ],
    ids=repr,
)
def test_what_an_error_means_whenever_it_comes(
    error: Exception, kind: TroubleKind, connecting: str, connected: str
) -> None:
    troubles = [line_trouble_of(error, STORE, proxy=PROXY, is_connected=known) for known in (False, True)]
    assert [trouble.kind for trouble in troubles] == [kind, kind]
    assert connecting in troubles[0].text
    assert connected in troubles[1].text
    assert SIGNATURE not in str(troubles)


@pytest.mark.parametrize(
    ("error", "connecting", "kind", "connected"),
    [
        (TimeoutError(), f"no connection to {VIA} in time", TroubleKind.STALLED, "for too long"),
        (
            ConnectionRefusedError(111, SIGNATURE),
            f"no connection to {VIA}: Connection refused",
            TroubleKind.BROKEN,
            "443 closed the connection: Connection refused",
        ),
        (OSError(24, "x"), f"{VIA}: Too many open files", TroubleKind.BROKEN, "Too many open files"),
        (LineEnded(), f"no connection to {VIA}", TroubleKind.BROKEN, "closed the connection"),
        (ssl.SSLEOFError(8, SIGNATURE), f"{VIA}: TLS failed", TroubleKind.BROKEN, "connection: TLS failed"),
        (ssl.SSLError(1, SIGNATURE), f"{VIA}: TLS failed", TroubleKind.BROKEN, "connection: TLS failed"),
    ],
    ids=repr,
)
def test_what_an_error_means_before_and_after_there_is_a_connection(
    error: Exception, connecting: str, kind: TroubleKind, connected: str
) -> None:
    before = line_trouble_of(error, STORE, proxy=PROXY, is_connected=False)
    after = line_trouble_of(error, STORE, proxy=PROXY, is_connected=True)
    assert (before.kind, after.kind) == (TroubleKind.CONNECT, kind)
    assert connecting in before.text
    assert connected in after.text
    assert SIGNATURE not in f"{before} {after}"


@pytest.mark.parametrize(("proxy", "whose"), [(None, "store.example:443"), (PROXY, "the proxy gate.example:3128")])
def test_the_name_that_was_asked_for_is_the_one_that_is_told(proxy: Url | None, whose: str) -> None:
    trouble = line_trouble_of(socket.gaierror(-2, "x"), STORE, proxy=proxy, is_connected=False)
    assert (trouble.kind, trouble.text) == (TroubleKind.CONNECT, f"the name of {whose} cannot be resolved")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (TroubleKind.CONNECT, TroublePassing),
        (TroubleKind.CERTIFICATE, ServiceRefused),
        (TroubleKind.PROXY, NotAuthorised),
        (TroubleKind.BROKEN, TroublePassing),
        (TroubleKind.STALLED, TroublePassing),
        (TroubleKind.GARBLED, ProtocolError),
    ],
)
def test_only_what_may_pass_is_tried_again(kind: TroubleKind, error: type[RfbulkError]) -> None:
    raised = Trouble(kind, "what happened", "what to do").as_error("send to", "store.example")
    assert type(raised) is error
    assert "what happened" in str(raised)
    assert "what to do" in str(raised)
