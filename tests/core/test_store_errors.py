from __future__ import annotations

import pytest

from rfbulk.core.store_errors import parse_store_error

AZURE_ERROR = b"".join(
    [
        b"\xef\xbb\xbf<Error><Code>AuthenticationFailed</Code><Message>Server failed.\nRequestId:1</Message>",
        b"<AuthenticationErrorDetail>Signature not valid in the specified time frame</AuthenticationErrorDetail>",
        b"</Error>",
    ]
)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>It &lt;has&gt; expired.</Message></Error>",
            "ExpiredToken",
            "It <has> expired.",
        ),
        (
            AZURE_ERROR,
            "AuthenticationFailed",
            "Signature not valid in the specified time frame Server failed.\nRequestId:1",
        ),
        (b"<Error><Code>AccessDenied</Code></Error>", "AccessDenied", ""),
        (b'<!DOCTYPE x [<!ENTITY a "boom">]><Error><Code>&a;</Code></Error>', "&a;", ""),
        (b"<Error><Code>", "", ""),
        (b'{"error": "json"}', "", ""),
        (b"", "", ""),
        (b"<Code>\xff</Code>", "\ufffd", ""),
    ],
)
def test_errors_of_stores_are_read_without_an_xml_parser(body: bytes, code: str, message: str) -> None:
    assert (code, message) == parse_store_error(body)


def test_a_huge_error_of_a_store_costs_nothing() -> None:
    code, message = parse_store_error(b"<Code>" + b"x" * 10_000_000)
    assert len(code) <= 64
    assert message == ""
