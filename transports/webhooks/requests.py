"""The bytes of a request: what stays the same for a webhook is written, and checked, once."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable
from typing import Final

from ...engine.sending import Attempt
from .standard_webhooks import signatures
from .targets import Target, Trouble

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A token (RFC 9110, 5.6.2)."""
_VALUE: Final = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?|")
"""What a header's value may hold (RFC 9110, 5.5), without the bytes that no standard gives a meaning."""
_TARGET: Final = re.compile(r"/[!-~]*")
_AUTHORITY: Final = re.compile(r"[!-~]+")
_ID: Final = re.compile(r"[!-~]+")


def opening(target: Target, user_agent: str, content_type: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the begin of a request's head, up to what is another at each attempt.

    Raises:
        Trouble: something would break out of its place in the head. No value is named, as some are secret.
    """
    if not (_TARGET.fullmatch(target.path) and _AUTHORITY.fullmatch(target.authority)):
        raise Trouble("the webhook's URL holds characters that must be percent-encoded")
    lines = [f"POST {target.path} HTTP/1.1", f"Host: {target.authority}"]
    always = [("User-Agent", user_agent), ("Content-Type", content_type), ("Accept", "*/*")]
    # What is kept of an answer is a few words for people: no coding of it is worth a bomb.
    always.append(("Accept-Encoding", "identity"))
    for name, value in (*always, *headers):
        lines.append(header(name, value))
    return ("\r\n".join(lines) + "\r\n").encode("ascii")


def request(begin: bytes, attempt: Attempt) -> bytes:
    """Return the whole request of an attempt, after the `opening` of its webhook.

    Raises:
        Trouble: the message's id would break out of its place.
        ValueError: nothing would sign it.
    """
    message = attempt.message
    if not _ID.fullmatch(message):
        raise Trouble(f"the message id {message[:50]!r} cannot stand in a header")
    body = attempt.body
    signed = signatures(attempt.secrets, attempt.keys, message, attempt.at, body)
    witness = b""
    if attempt.checkpoint:
        witness = b"Stationkeeper-Checkpoint: %b\r\n" % b2a_base64(attempt.checkpoint, newline=False)
    return b"%bWebhook-Id: %b\r\nWebhook-Timestamp: %d\r\nWebhook-Signature: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
        begin,
        message.encode("ascii"),
        attempt.at,
        signed,
        witness,
        len(body),
        body,
    )


def header(name: str, value: str) -> str:
    """Return one line of a head, without its end.

    Raises:
        Trouble: it would not stay one header.
    """
    if not _NAME.fullmatch(name):
        raise Trouble(f"the name {name[:50]!r} cannot be that of a header")
    if not _VALUE.fullmatch(value):
        raise Trouble(f"the value of the header {name} holds what no header may hold")
    return f"{name}: {value}"
