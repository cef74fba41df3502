"""Why stations are turned away: every reason, what it means, and what to do about it; for people.

One table for `why`, the dashboard and the reference (`docs/generate.py`). A hint that was recorded with a refusal
knows more of the very case than its remedy here, and goes first.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Reason:
    """A reason for which a station is turned away."""

    status: str
    """The HTTP status of the answer, or those that it may be."""
    meaning: str
    """The rest of a sentence that begins with "because"."""
    remedy: str
    """What to do, as a sentence."""


_LATER: Final = "Nothing: it is told when to come again. If it lasts, look at the daemon's log and its metrics."

REASONS: Final[dict[str, Reason]] = {
    # --- who it is ---
    "unknown_station": Reason(
        "404",
        "no station of this id is registered",
        "Register it, or correct the id in the charger's settings: case, zeros and marks count.",
    ),
    "wrong_path": Reason(
        "404",
        "it asked for another path than that of stations",
        "Set the charger's URL to the one that the daemon logs at its start, with the station's id behind it and "
        "nothing else. Some chargers append the id by themselves: then leave it away.",
    ),
    "malformed_id": Reason(
        "400",
        "the id in its URL cannot be read",
        "Percent-encode the id as UTF-8: a per cent sign is %25, a slash %2F.",
    ),
    # --- that it is who it says ---
    "no_credentials": Reason(
        "401",
        "it sent no password",
        "Set its password (`AuthorizationKey` or `BasicAuthPassword`) and security profile 1 or 2, and restart it: a "
        "new password is used from the next connection on.",
    ),
    "wrong_credentials": Reason(
        "401",
        "its password is not the registered one, or came under another user name than its id",
        "Give it a new password, of 16 to 40 characters. An OCPP 1.6 key is set as hexadecimal digits; chargers send "
        "it as bytes or as text, and both are taken. `--lenient username` forgives another user name.",
    ),
    "wrong_profile": Reason(
        "403",
        "it did not arrive with the security profile that it must have",
        "Let it dial the right listener (wss:// for profiles 2 and 3) with what its profile asks for, or change the "
        "profile that is registered.",
    ),
    "wrong_certificate": Reason(
        "403",
        "its client certificate is not that of this station",
        "The certificate's common name must be the station's id, or the serial number that is registered for it.",
    ),
    "foreign_origin": Reason(
        "403",
        "it sent an Origin, as browsers do, that is not ours",
        "A web page tried this. If a charger really sends an Origin, allow it that (`--lenient origin`), or "
        "name the origin in the configuration.",
    ),
    # --- what it speaks ---
    "no_subprotocol": Reason(
        "101, then close 1002",
        "it offers no version of OCPP that we speak",
        "Set it to OCPP 1.6J, 2.0.1 or 2.1. If it offers nothing at all, register the version that it speaks "
        "(`--protocol`); if it offers a name of its own, allow it that as well (`--lenient subprotocol`).",
    ),
    "not_websocket": Reason(
        "426",
        "it did not ask for a WebSocket",
        "A browser or a health check does this. A proxy in front must pass `Upgrade` and `Connection`. A charger that "
        "leaves out `Connection: Upgrade` can be allowed that (`--lenient upgrade`).",
    ),
    "websocket_version": Reason(
        "426", "it speaks an old draft of WebSocket", "Update its firmware: RFC 6455 is version 13."
    ),
    "wrong_method": Reason("405", "it did not use GET", "This is no charger: a scanner or a test does this."),
    "malformed_request": Reason(
        "400",
        "its request is no proper HTTP",
        "Read the hint. If it is a charger, tell its vendor; if a proxy stands before us, look at what that adds.",
    ),
    "incomplete_request": Reason(
        "400", "it went away in the middle of its request", "A port scan, or a network that breaks: look at its signal."
    ),
    "oversized_head": Reason(
        "431", "its request's head is longer than any charger's", "Look at what a proxy before us adds to it."
    ),
    # --- TLS and proxies ---
    "tls_on_plain_port": Reason(
        "400",
        "it began TLS on a port without TLS",
        "Set the charger's URL to ws://, or to the port that speaks TLS (`tls_listen`), or set a certificate.",
    ),
    "tls_failed": Reason(
        "400, not sent",
        "the TLS handshake failed",
        "Read the hint. If it speaks plain HTTP, give it a wss:// URL, or the port without TLS. Else it must trust our "
        "certificate's authority, have the right time, and speak TLS 1.2. If it shows a certificate of its own, the "
        "authority of that must be in `tls_client_ca`, even if it comes with a password.",
    ),
    "no_proxy_header": Reason(
        "400",
        "it came from a trusted proxy, and without the header that this must send",
        "Let the proxy send PROXY protocol version 2, or take its address out of `[stations] trusted_proxies`.",
    ),
    "malformed_proxy_header": Reason(
        "400",
        "the header of the proxy in front cannot be read",
        "Let the proxy send PROXY protocol version 2; version 1, the one in text, is not taken.",
    ),
    "proxy_not_trusted": Reason(
        "400",
        "it sent a proxy's header, but is no proxy that we trust",
        "If it is ours, name its address in `[stations] trusted_proxies`. If not, somebody tries to hide where it is.",
    ),
    # --- how often, how fast ---
    "handshake_timeout": Reason(
        "408 or 503",
        "its handshake took too long",
        "With 408 the network is very slow, or somebody holds connections open; with 503 our own checks were late: see "
        "`busy`.",
    ),
    "crowded": Reason(
        "503", "it said nothing while others waited to be let in", "Nothing, if a fleet just came back: it tries again."
    ),
    "too_often": Reason(
        "429",
        "it, or somebody at its address, dials in or guesses its password too often",
        "Look at why it reconnects: `why` and its page show each end. After wrong passwords give it a generated key.",
    ),
    # --- ours ---
    "overloaded": Reason("503", "we let in as many at a time as we can, and no more", _LATER),
    "full": Reason(
        "503",
        "there are as many connections as may be",
        "Raise `[stations] max_connections`, if the machine can bear it.",
    ),
    "busy": Reason("503", "too many passwords wait to be checked", "Give stations generated keys: those take no time."),
    "starting": Reason("503", "we are just starting", _LATER),
    "draining": Reason("503", "we are about to stop", _LATER),
    "ended": Reason("503", "its connection ended while it was being let in", _LATER),
    "superseded": Reason(
        "503",
        "another connection of its id came in at the same moment, and the newest counts",
        "Look whether two devices have this id: `why` and the station's page tell of takeovers.",
    ),
    "log_unavailable": Reason(
        "503",
        "our log cannot be written, and nobody is let in of whom nothing could be recorded",
        "Look at the daemon's log: mostly the disk is full or failing.",
    ),
    "internal_error": Reason(
        "500", "of a fault of ours", "Look at the daemon's log, and report what you find there as a bug."
    ),
}
"""By the reason that `handshake.refused` bears."""


def meaning(reason: str) -> str:
    """Return what a reason means; of one that this release does not know, its words."""
    known = REASONS.get(reason)
    return reason.replace("_", " ") if known is None else known.meaning


def remedy(reason: str) -> str:
    """Return what to do about a reason; empty for one that this release does not know."""
    known = REASONS.get(reason)
    return "" if known is None else known.remedy
