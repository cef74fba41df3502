"""Bearer tokens: who may read, and who may change."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from ...engine.errors import WrongSetting
from ..configuration.units import Address

Scope: TypeAlias = Literal["read", "admin"]


@frozen(kw_only=True)
class Token:
    """One line of a token file. What the token itself is, is kept as a digest alone."""

    name: str
    """What events name it by as their actor; no secret."""
    scope: Scope
    digest: bytes = field(repr=False)

    @property
    def may_change(self) -> bool:
        return self.scope == "admin"


_SCOPES: Final[dict[str, Scope]] = {"read": "read", "admin": "admin"}

LOCAL: Final = Token(name="local", scope="admin", digest=b"")
"""Who everybody is where there is no token file, and so no way in but from this machine."""


class Tokens:
    """The tokens of a file, which can be read again; or, without a file, no check at all.

    A line is `admin TOKEN` or `read TOKEN`, and may end with a name; `#` begins a comment. A token without a name is
    called by its scope and its place among those: `admin-1`, `read-2`.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read the file.

        Raises:
            WrongSetting: it cannot be read, or a line of it cannot; the message names the line, never the token.
        """
        self.path = path
        self._tokens: list[Token] = []
        self.reload()

    def __iter__(self) -> Iterator[Token]:
        return iter(self._tokens)

    @property
    def checked(self) -> bool:
        """Whether there is a file, so that a token is asked for."""
        return self.path is not None

    def reload(self) -> None:
        """Read the file again. Where it cannot be read, what was read before stays in force.

        Raises:
            WrongSetting: as at the first reading.
        """
        if self.path is not None:
            self._tokens = _read(self.path)

    def find(self, secret: str) -> Token | None:
        """Return the token that somebody showed; none if there is no such. Takes equally long, whichever it is."""
        digest = sha256(secret.encode("utf-8", "surrogateescape")).digest()
        found = None
        for token in self._tokens:
            if compare_digest(token.digest, digest):
                found = token
        return found


def check_exposure(listen: Address, tokens: Tokens) -> None:
    """Make sure that an API which asks nobody for a token can be reached from this machine alone.

    Raises:
        WrongSetting: *listen* is no loopback address, and there is no token file.
    """
    if not tokens.checked and not is_loopback(listen.host):
        raise WrongSetting(
            f'[http] listen = "{listen}" would let everybody who reaches it change everything, because there is no '
            "[http] token_file: write one (lines `admin TOKEN`, `read TOKEN`), or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Return whether a host, as a name or an address, is this very machine."""
    host = host.strip("[]")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> list[Token]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise WrongSetting(f"[http] token_file = {str(path)!r} cannot be read: {reason}") from None
    tokens: list[Token] = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        scope = _SCOPES.get(words[0])
        if scope is None or len(words) not in (2, 3):
            raise WrongSetting(
                f"[http] token_file = {str(path)!r}, line {number}: write `admin TOKEN` or `read TOKEN`, "
                "with a name behind it if you like"
            )
        nth = 1 + sum(token.scope == scope for token in tokens)
        name = words[2] if len(words) == 3 else f"{scope}-{nth}"
        tokens.append(Token(name=name, scope=scope, digest=sha256(words[1].encode()).digest()))
    if not tokens:
        raise WrongSetting(f"[http] token_file = {str(path)!r} holds no token; write a line `admin TOKEN`")
    return tokens
