"""What can be asked of the registrar about webhooks: new ones, and changes to those that are there.

Each request checks itself, as those about stations do (`requests`). A field of a change that is `KEEP` stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, fields, frozen

from ...engine.events import Format, Mode
from ...transports.webhooks.targets import check_url
from .errors import Invalid
from .requests import KEEP, Keep, check_texts
from .webhook_options import (
    EVENT_TYPES,
    FORMATS,
    MODES,
    check_authorities,
    check_concurrency,
    check_event_types,
    check_headers,
    check_identity,
    check_patterns,
    check_rate,
    check_signatures,
    check_word,
)


@frozen(kw_only=True)
class WebhookChanges:
    """Changes to a subscription."""

    url: str | Keep = KEEP
    events: tuple[str, ...] | Keep = KEEP
    stations: tuple[str, ...] | Keep = KEEP
    sites: tuple[str, ...] | Keep = KEEP
    name: str | Keep = KEEP
    mode: Mode | Keep = KEEP
    """`latest`: of a station that flipped while messages waited, only the newest state is sent."""
    format: Format | Keep = KEEP
    """Of the bodies of messages caused from now on."""
    signatures: tuple[str, ...] | Keep = KEEP
    """`v1` and `v1a`; a scheme that is new gets a secret or key, one that is gone loses its."""
    headers: Mapping[str, str | None] | Keep = field(default=KEEP, repr=False)
    """Those named get new values; None takes one away; the others stay."""
    client_certificate: str | Keep | None = field(default=KEEP, repr=False)
    """In PEM: certificates, our own first, and its key. None: we prove nothing."""
    authorities: str | Keep | None = KEEP
    """In PEM: who vouches for the receiver. None: whom the system believes."""
    rate: float | Keep | None = KEEP
    """Messages a second, at most."""
    concurrency: int | Keep | None = KEEP
    """Attempts in flight, at most."""
    secret: str | Keep = field(default=KEEP, repr=False)
    """`whsec_...`, if the changes add `v1`; drawn if none is given."""

    def check(self, policy: UrlPolicy, *, standing: bool = False) -> None:
        """Raise `Invalid` where a field cannot be as it is.

        *standing*: it stands in the configuration, where a certificate that is over one day must not keep the daemon
        from starting.
        """
        if self.url is not KEEP:
            policy.check(self.url)
        if self.events is not KEEP:
            check_event_types(self.events)
        if self.stations is not KEEP:
            check_patterns("stations", self.stations)
        if self.sites is not KEEP:
            check_patterns("sites", self.sites)
        if self.name is not KEEP:
            check_texts(name=self.name)
        if self.mode is not KEEP:
            check_word("mode", self.mode, MODES)
        if self.format is not KEEP:
            check_word("format", self.format, FORMATS)
        self._check_trust(expired=standing)
        if self.rate is not KEEP:
            check_rate(self.rate)
        if self.concurrency is not KEEP:
            check_concurrency(self.concurrency)

    def _check_trust(self, *, expired: bool) -> None:
        if self.signatures is not KEEP:
            check_signatures(self.signatures)
        if self.headers is not KEEP:
            check_headers(self.headers)
        if isinstance(self.client_certificate, str):
            check_identity(self.client_certificate, expired=expired)
        if isinstance(self.authorities, str):
            check_authorities(self.authorities, expired=expired)


@frozen(kw_only=True)
class NewWebhook:
    """A subscription to be made; what a field means is told at that of `WebhookChanges`."""

    url: str
    events: tuple[str, ...] = EVENT_TYPES[:2]
    stations: tuple[str, ...] = ("*",)
    sites: tuple[str, ...] = ("*",)
    initial: str = "none"
    """`state`: it is first told the state of each station that ever connected."""
    name: str = ""
    mode: Mode = "every"
    format: Format = "standard"
    signatures: tuple[str, ...] = ("v1",)
    secret: str | None = field(default=None, repr=False)
    """`whsec_...`; drawn if none is given."""
    headers: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    client_certificate: str | None = field(default=None, repr=False)
    authorities: str | None = None
    rate: float | None = None
    concurrency: int | None = None

    def as_changes(self) -> WebhookChanges:
        """Return what has to be changed of a webhook without any option."""
        named: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(NewWebhook)}
        del named["initial"]
        if self.secret is None:
            named["secret"] = KEEP
        return WebhookChanges(**named)

    def check(self, policy: UrlPolicy, *, standing: bool = False) -> None:
        """Raise `Invalid` where a field cannot be as it is; *standing* as for `WebhookChanges`."""
        self.as_changes().check(policy, standing=standing)
        check_word("initial", self.initial, ("none", "state"))
        if self.secret is not None and "v1" not in self.signatures:
            raise Invalid("secret", "v1 alone is signed with it; name v1 among the signatures, or leave it out")


@frozen(kw_only=True)
class UrlPolicy:
    """Which URLs a webhook may have. What a host name leads to is looked at again at each attempt, by the sender."""

    allow_http: bool = False
    allow_private_networks: bool = False
    ports: frozenset[int] | None = None
    """Which ones alone; None: the usual ones."""

    def check(self, url: str) -> None:
        """Raise `Invalid` if a webhook may not have this URL."""
        try:
            check_url(
                url,
                allow_http=self.allow_http,
                allow_private_networks=self.allow_private_networks,
                ports=self.ports,
            )
        except ValueError as error:
            raise Invalid("url", str(error)) from None
