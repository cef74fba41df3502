"""Webhooks that stand in the configuration: at each start the log is brought into line with them.

Only differences become events, in the name of `config`. Such a webhook is known by its name, and by its id, which
begins with a prefix of its own: those made over the API are never touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import structlog
from attrs import evolve

from ...engine.errors import WrongSetting
from ...projections import webhooks
from ..configuration.webhooks import WebhookSection, WebhooksSection
from .books import Book
from .errors import Invalid
from .registrar import Registrar
from .requests import KEEP
from .signing import draw_secret, read_secret, write_secret
from .subscriptions import STANDING_PREFIX
from .webhook_options import check_authorities, check_identity
from .webhook_requests import NewWebhook, UrlPolicy

ID_PREFIX: Final = STANDING_PREFIX
ACTOR: Final = "config"

_log = structlog.get_logger("stationkeeper")


def policy_of(webhooks: WebhooksSection) -> UrlPolicy:
    """Return which URLs webhooks may have, as the configuration says."""
    return UrlPolicy(
        allow_http=webhooks.allow_http,
        allow_private_networks=webhooks.allow_private_networks,
        ports=None if webhooks.ports is None else frozenset(webhooks.ports),
    )


def read_standing(sections: Iterable[WebhookSection], policy: UrlPolicy) -> list[NewWebhook]:
    """Return the webhooks of the configuration with their secrets. A secret file that is not there is made.

    Raises:
        WrongSetting: one cannot be as it is; the message names it.
    """
    standing: list[NewWebhook] = []
    for section in sections:
        try:
            webhook = _read(section)
            webhook.check(policy, standing=True)
        except Invalid as error:
            raise WrongSetting(f"[[webhook]] {section.name!r}: {error}") from error
        if section.secret_file is not None:
            webhook = evolve(webhook, secret=_secret(section.name, section.secret_file))
        standing.append(webhook)
        _warn_of_expired(webhook)
    return standing


def _warn_of_expired(webhook: NewWebhook) -> None:
    for pem, check in (
        (webhook.client_certificate, check_identity),
        (webhook.authorities, check_authorities),
    ):
        try:
            if pem is not None:
                check(pem)
        except Invalid as error:
            _log.warning("a certificate of a webhook cannot be used now", webhook=webhook.name, reason=str(error))


def _read(section: WebhookSection) -> NewWebhook:
    """Return the webhook of a section, but for its secret; what stands in files of its own is read."""
    certificate, authorities = section.client_certificate, section.authorities
    name = section.name
    return NewWebhook(
        url=section.url,
        events=section.events,
        stations=section.stations,
        sites=section.sites,
        initial=section.initial,
        name=name,
        mode=section.mode,
        format=section.format,
        signatures=section.signatures,
        headers={
            header: _content(name, f"header_files.{header}", file) for header, file in section.header_files.items()
        },
        client_certificate=None if certificate is None else _content(name, "client_certificate", certificate),
        authorities=None if authorities is None else _content(name, "authorities", authorities),
        rate=section.rate,
        concurrency=section.concurrency,
    )


def _content(name: str, key: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise WrongSetting(f"[[webhook]] {name!r}: {key} = {str(file)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise WrongSetting(f"[[webhook]] {name!r}: {key} = {str(file)!r} is no text in UTF-8") from None


async def bring_into_line(book: Book, registrar: Registrar, standing: Sequence[NewWebhook]) -> int:
    """Add, change and remove webhooks of the configuration in the log; return how many events that took.

    Raises:
        LogUnavailable: the log cannot be written now.
    """
    if book.copied:
        # Its secrets could not be kept, and nothing is sent; the start that adopts it brings all into line.
        return 0
    before = book.position
    there = {hook.record.name: id for id, hook in book.state(webhooks).items() if id.startswith(ID_PREFIX)}
    for webhook in standing:
        id = there.pop(webhook.name, None)
        if id is None:
            await registrar.subscribe(webhook, actor=ACTOR, id_prefix=ID_PREFIX)
        else:
            await _change(registrar, id, webhook)
    for id in there.values():
        await registrar.remove_webhook(id, actor=ACTOR, standing=True)
    return book.position - before


async def _change(registrar: Registrar, id: str, webhook: NewWebhook) -> None:
    record = registrar.webhook_record(id)
    said = {name.lower() for name in webhook.headers}
    gone = dict.fromkeys(name for name, _ in record.headers if name.lower() not in said)
    changes = evolve(
        webhook.as_changes(),
        # In another order they are the same.
        events=KEEP if set(webhook.events) == set(record.events) else webhook.events,
        stations=KEEP if set(webhook.stations) == set(record.stations) else webhook.stations,
        sites=KEEP if set(webhook.sites) == set(record.sites) else webhook.sites,
        headers={**gone, **webhook.headers},
    )
    await registrar.update_webhook(id, changes, actor=ACTOR, standing=True)
    if webhook.secret is not None:
        await registrar.take_secret(id, webhook.secret, actor=ACTOR)


def _secret(name: str, file: Path) -> str:
    try:
        if not file.exists():
            _make_secret(file)
        text = file.read_text(encoding="utf-8").strip()
        read_secret(text)
    except OSError as error:
        raise WrongSetting(
            f"[[webhook]] {name!r}: secret_file = {str(file)!r} cannot be used: {error.strerror}"
        ) from error
    except (Invalid, UnicodeDecodeError):
        raise WrongSetting(
            f"[[webhook]] {name!r}: secret_file = {str(file)!r} holds no secret; wanted is whsec_ and 24 to 64 bytes "
            "in base64, or no file, and one is made"
        ) from None
    return text


def _make_secret(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(write_secret(draw_secret()) + "\n")
        stream.flush()
        os.fsync(descriptor)
