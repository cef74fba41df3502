"""The sections about webhooks: how all of them are sent, and those that stand in the file."""
# ruff: noqa: RUF009 (`setting` declares a field, as `attrs.field` does)

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from attrs import field, frozen

from ...engine.settings import EngineSettings, Retry
from ...transports.webhooks.connecting.proxy import read_proxy
from .declaring import at_least, nonempty, setting
from .units import Duration, Rate

_CREDENTIALS: Final = re.compile(r"^(https?://)?.*@", re.DOTALL)


def _proxy(value: str | None) -> str | None:
    try:
        if value is not None:
            read_proxy(value)
    except ValueError:
        return 'a proxy that knows CONNECT, e.g. "http://proxy.example.com:3128", or "http://USER:PASSWORD@..."'
    return None


def without_credentials(url: str) -> str:
    """Return a URL with a blank in place of the user and the password."""
    return _CREDENTIALS.sub(lambda found: f"{found[1] or ''}***@", url)


def _ports(value: tuple[int, ...] | None) -> str | None:
    right = value is None or (value and all(1 <= port <= 65535 for port in value))
    return None if right else "ports, e.g. [443, 8443]"


def _retry(value: tuple[Duration, ...]) -> str | None:
    return None if len(value) <= 100 else "at most 100 durations"


def _rate(value: Rate | None) -> str | None:
    return None if value is None or 0.001 <= value <= 100_000 else "0.001 to 100000 messages a second"


def _limit(value: int | None) -> str | None:
    return None if value is None or value >= 1 else "at least 1"


@frozen(kw_only=True)
class WebhooksSection:
    """How webhooks are sent."""

    timeout: Duration = setting(
        Duration(15.0), unit="duration", reason="for one attempt; Standard Webhooks asks for 15 s to 30 s",
        check=at_least(0.1),
    )  # fmt: skip
    connect_timeout: Duration = setting(
        Duration(5.0), unit="duration", reason="of that, for one address to take a connection", check=at_least(0.1)
    )
    tls_timeout: Duration = setting(
        Duration(5.0), unit="duration", reason="of that, for the handshake of TLS", check=at_least(0.1)
    )
    write_timeout: Duration = setting(
        Duration(5.0), unit="duration", reason="of that, for the receiver to take the request", check=at_least(0.1)
    )
    answer_timeout: Duration = setting(
        Duration(15.0), unit="duration", reason="of that, until the first byte of the answer", check=at_least(0.1)
    )
    retry: tuple[Duration, ...] = setting(
        tuple(Duration(delay) for delay in Retry().delays),
        unit="list of durations",
        reason="after each failed attempt: 75 hours in all, so that a weekend's outage is bridged",
        check=_retry,
    )
    retry_after_cap: Duration = setting(
        Duration(Retry().retry_after_cap),
        unit="duration",
        reason="for which a receiver may put a message off with Retry-After, in all",
    )
    concurrency: int = setting(
        EngineSettings().concurrency, unit="attempts", reason="in flight at once, over all webhooks", check=at_least(1)
    )
    webhook_concurrency: int = setting(
        EngineSettings().webhook_concurrency,
        unit="attempts",
        reason="of those, for one webhook that has no limit of its own: a slow one leaves room for others",
        check=at_least(1),
    )
    host_concurrency: int = setting(
        EngineSettings().host_concurrency,
        unit="attempts",
        reason="of those, for all webhooks on one host; half of all, so that no host keeps the others waiting",
        check=at_least(1),
    )
    rate: Rate | None = setting(
        None,
        unit="messages a second",
        reason="for a webhook that has no rate of its own; absent: as many as it takes",
        check=_rate,
    )
    ports: tuple[int, ...] | None = setting(
        None,
        unit="list of ports",
        reason="that URLs may have; absent: 443 and 8443, with allow_http 80 and 8080, too, and any one with "
        "allow_private_networks",
        check=_ports,
    )
    proxy: str | None = setting(
        None,
        unit="URL",
        reason="absent: receivers are reached directly; set, each attempt goes through this proxy (CONNECT)",
        check=_proxy,
        show=without_credentials,
    )
    checkpoint: bool = setting(
        True,
        unit="true or false",
        reason="each attempt bears the newest signed checkpoint, so that receivers can tell if the log was changed",
    )
    allow_private_networks: bool = setting(
        False, unit="true or false", reason="a webhook's URL must not reach what only this machine can reach"
    )
    allow_http: bool = setting(
        False, unit="true or false", reason="without TLS everybody on the way reads and answers"
    )  # fmt: skip


@frozen(kw_only=True)
class WebhookSection:
    """A `[[webhook]]`: a subscription that stands in the file. Its name identifies it from start to start."""

    name: str = field(metadata={"unit": "text", "reason": "identifies it over restarts", "check": nonempty})
    url: str = field(metadata={"unit": "URL", "reason": "where messages are posted", "check": nonempty})
    secret_file: Path | None = setting(
        None,
        unit="path",
        reason="holds whsec_..., and is made with a new secret if it is not there; required where v1 signs",
    )
    events: tuple[str, ...] = setting(
        ("chargestation.online", "chargestation.offline"), unit="list of types", reason="the two that flip the flag"
    )
    stations: tuple[str, ...] = setting(("*",), unit="list of patterns", reason="all stations")
    sites: tuple[str, ...] = setting(("*",), unit="list of patterns", reason="all sites, and stations without one")
    initial: Literal["none", "state"] = setting("none", unit="none or state", reason="no message about the past")
    mode: Literal["every", "latest"] = setting(
        "every", unit="every or latest", reason="each flip is told; latest tells the newest of those that wait"
    )
    format: Literal["standard", "cloudevents"] = setting(
        "standard", unit="standard or cloudevents", reason="as Standard Webhooks has bodies"
    )
    signatures: tuple[Literal["v1", "v1a"], ...] = setting(
        ("v1",), unit="list of schemes", reason="HMAC-SHA256, which each library knows; v1a is Ed25519", check=nonempty
    )
    header_files: dict[str, Path] = setting(
        {}, unit="table of paths", reason="headers that each request bears, each with a file that holds its value"
    )
    client_certificate: Path | None = setting(
        None, unit="path of a PEM file", reason="absent: the signature is proof enough; with its chain and its key"
    )
    authorities: Path | None = setting(
        None, unit="path of a PEM file", reason="absent: receivers are believed by the system's authorities"
    )
    rate: Rate | None = setting(None, unit="messages a second", reason="absent: that of [webhooks]", check=_rate)
    concurrency: int | None = setting(
        None, unit="attempts", reason="absent: webhook_concurrency of [webhooks]", check=_limit
    )
