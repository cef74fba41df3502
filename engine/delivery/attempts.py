"""What an attempt needs: the signing secrets and keys, headers, certificates and the checkpoint, out of the vault.

Nothing is ever sent unsigned, nor without a header or certificate that its receiver expects: where something is not
there, the webhook waits until it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..events import Format, Micros
from ..sending import Attempt, Destination, Owed

_CONTENT_TYPES: Final[dict[Format, str]] = {
    "standard": "application/json",
    "cloudevents": "application/cloudevents+json",
}
"""CloudEvents: the structured mode of its HTTP binding 1.0.2, section 3.2."""


class Lacking(Exception):
    """Something that an attempt needs is not in the vault; says what."""

    def __init__(self, problem: str, *, unsigned: bool = False) -> None:
        super().__init__(problem)
        self.unsigned = unsigned
        """Whether it is what it would be signed with."""


class Supplies:
    """Puts attempts together."""

    def __init__(self, secret: Callable[[str], bytes | None], checkpoint: Callable[[], bytes]) -> None:
        self._secret = secret
        self._checkpoint = checkpoint

    def attempt(self, message: Owed, destination: Destination, body: bytes, at: Micros) -> Attempt:
        """Return an attempt at a message, made *at* then.

        Raises:
            Lacking: it cannot be made before somebody mends the webhook or the vault.
            LogError: the vault cannot be read now.
        """
        retired = destination.retired_at is not None and at >= destination.retired_at
        secrets = self._signing(destination.secrets, "secret", retired=retired)
        keys = self._signing(destination.keys, "key", retired=retired) if destination.keys else ()
        if not secrets and not keys:
            raise Lacking("it has no usable signing secret", unsigned=True)
        return Attempt(
            message=message.id,
            url=destination.url,
            body=body,
            secrets=secrets,
            at=at // 1_000_000,
            content_type=_CONTENT_TYPES[message.format],
            keys=keys,
            headers=tuple([(name, self._header(name, id)) for name, id in destination.headers]),
            identity=self._needed(destination.identity, "client certificate") if destination.identity else b"",
            authorities=self._needed(destination.authorities, "authorities") if destination.authorities else b"",
            checkpoint=self._checkpoint(),
        )

    def _signing(self, ids: tuple[str, ...], what: str, *, retired: bool) -> tuple[bytes, ...]:
        """Return what signs, newest first. Where there should be something, something has to be there."""
        found = tuple([secret for id in (ids[:1] if retired else ids) if (secret := self._secret(id))])
        if ids and not found:
            raise Lacking(f"it has no usable signing {what}", unsigned=True)
        return found

    def _header(self, name: str, id: str) -> str:
        try:
            return self._needed(id, f"value of the header {name}").decode()
        except UnicodeDecodeError:
            raise Lacking(f"the value of the header {name} is no text") from None

    def _needed(self, id: str, what: str) -> bytes:
        found = self._secret(id)
        if not found:
            raise Lacking(f"its {what} is missing among the secrets")
        return found
