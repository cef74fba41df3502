"""Where the key of a log's secrets comes from: it is given, or stands in a file, by default `<log>.key`.

A key file is made, durably, before the first secret is sealed under it, and never for secrets that are sealed already.
While a key is being replaced the new one stands beside it as `<file>.new`: whichever of the two opens the secrets is
the right one, and the next start tidies up. So a key file serves one log alone.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path
from typing import Final, TypeAlias

from ..errors import LogUnavailable, SecretsExposed, SecretsSealed, WrongSetting
from .files import erasing, keep_names, publish, remove, sync_file, sync_folder
from .sealing import SecretsKey

_LOG: Final = logging.getLogger(__name__)

_LONGEST: Final = 4096
"""Bytes that are read of a key file."""
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems say that know no hard links."""


class KeyFile:
    """A file that holds the key of one log's secrets: a line of base64."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve() if path.is_symlink() else path
        self.new = self.path.with_name(self.path.name + ".new")
        """The next key, while it is taking the present one's place."""
        self._making = self.path.with_name(self.path.name + ".making")

    def read(self) -> SecretsKey | None:
        """Return the key; none if there is no file.

        Raises:
            SecretsExposed: others than its owner may read it.
            LogUnavailable: it cannot be read.
            WrongSetting: it holds no key.
        """
        return _read(self.path)

    def fitting(self, id: str) -> SecretsKey | None:
        """Return the key of an id, be it the present one or the one to come; none if it is not here.

        Raises:
            LogError: as `read`.
            WrongSetting: the present one is no key, and the one to come does not fit.
        """
        if self.new.exists():
            try:
                new = _read(self.new)
            except WrongSetting:
                new = None  # cut off while it was written, and so before anything was sealed under it
            if new is not None and new.id == id:
                return new
        key = self.read()
        return key if key is not None and key.id == id else None

    def tidy(self, key: SecretsKey) -> None:
        """End a change of keys that was cut off, once it is known which one is right. The log's lock is held.

        Raises:
            LogUnavailable: it cannot be ended.
        """
        if self._making.exists():
            remove(self._making)
        if self.new.exists():
            if key.source == _words(self.new):
                self.put_new_in_place()
            else:
                remove(self.new)

    def make(self, *, like: Path) -> SecretsKey:
        """Return the key, drawn if there is no file yet; durable on return. Root makes it for who owns *like*.

        Raises:
            LogError: as `read`; or it cannot be made.
            WrongSetting: as `read`.
        """
        found = self.read()
        if found is not None:
            return found
        _write(self._making, SecretsKey.draw(), like=like)
        try:
            # Not renamed over it: a key that somebody else has put there by now would be gone, with all it opens.
            os.link(self._making, self.path)
            sync_folder(self.path.parent)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise LogUnavailable(f"{self.path} cannot be made ({error.strerror}); check its folder") from error
            publish(self._making, self.path)
        remove(self._making)
        made = self.read()
        assert made is not None
        _LOG.info("%s was made: secrets are sealed under the key in it; keep a copy where no backup is", self.path)
        return made

    def sync(self) -> None:
        """Make sure that the file is on the disk, whoever wrote it.

        Raises:
            LogUnavailable: it cannot be synced.
        """
        sync_file(self.path)
        keep_names(self.path)

    def draw_new(self) -> SecretsKey:
        """Draw the key that is to come, and put it beside the present one; durable on return.

        Raises:
            LogUnavailable: it cannot be written.
        """
        key = SecretsKey.draw(_words(self.path))
        _write(self.new, key, like=self.path)
        return key

    def put_new_in_place(self) -> None:
        """Let the key beside the present one be the present one. The old one is overwritten.

        Raises:
            LogUnavailable: it cannot be.
        """
        with erasing(self.path):
            publish(self.new, self.path)

    def forget(self) -> None:
        """Overwrite the key, and remove the file.

        Raises:
            LogUnavailable: it cannot be.
        """
        with erasing(self.path):
            remove(self.path)


KeySource: TypeAlias = SecretsKey | KeyFile
"""A key, or where one stands."""


def default_key_file(log: Path) -> KeyFile:
    """Return where the key of a log's secrets stands, if nobody says otherwise."""
    return KeyFile(log.with_name(log.name + ".key"))


def current_key(source: KeySource) -> SecretsKey | None:
    """Return the key at a place, whatever it opens; none if there is none yet.

    Raises:
        LogError: it cannot be read.
        WrongSetting: what stands there is no key.
    """
    return source if isinstance(source, SecretsKey) else source.read()


def make_key(source: KeySource, *, like: Path) -> SecretsKey:
    """Return the key that new secrets are sealed under, drawn if there is none yet; see `KeyFile.make`.

    Raises:
        LogError: it cannot be read, or not be made.
        WrongSetting: what stands there is no key.
    """
    return source if isinstance(source, SecretsKey) else source.make(like=like)


def find_key(source: KeySource, id: str, secrets: Path) -> SecretsKey:
    """Return the key of an id, under which the secrets of a file are sealed.

    Raises:
        SecretsSealed: it is not there; the message says what is, and what to do.
        LogError: where it should stand cannot be read.
        WrongSetting: what stands there is no key.
    """
    if isinstance(source, SecretsKey):
        if source.id == id:
            return source
        why = f"{source.source} is the key {source.id}"
    else:
        key = source.fitting(id)
        if key is not None:
            return key
        there = source.read()
        why = f"there is no {source.path}" if there is None else f"{there.source} holds the key {there.id}"
    raise SecretsSealed(
        f"{secrets} is sealed under the key {id}, but {why}; bring that key back (in STATIONKEEPER_SECRETS_KEY, in the "
        f"file that [log] secrets_key_file names, or as {secrets.with_suffix('.key').name}). If it is lost for good, "
        f"so are the secrets: move {secrets.name} away, and serve --adopt to give stations and webhooks new ones"
    )


def _read(path: Path) -> SecretsKey | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be read ({error.strerror}); check its rights") from error
    try:
        found = os.fstat(descriptor)
        # Of a file that somebody else put there, a container's or Kubernetes' secret say, its owner decides.
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
            raise SecretsExposed(
                f"{path} holds the key of the secrets, but others may read or write it (mode "
                f"{stat.S_IMODE(found.st_mode):04o}); chmod 600 {path.name}, and change the key if somebody may have "
                "read it (stationkeeper keys rotate-secrets)"
            )
        text = os.read(descriptor, _LONGEST).decode("ascii", "replace")
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be read ({error.strerror}); check its disk") from error
    finally:
        os.close(descriptor)
    return SecretsKey.parse(text, _words(path))


def _words(path: Path) -> str:
    return f"the file {path}"


def _write(path: Path, key: SecretsKey, *, like: Path) -> None:
    """Write a key file that nobody but its owner may read; it and its name are durable on return."""
    remove(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.geteuid() == 0 and like.exists():
                owner = like.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.write(descriptor, key.text().encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    except OSError as error:
        raise LogUnavailable(
            f"{path} cannot be made ({error.strerror}); check its folder, or name another place in [log] "
            "secrets_key_file"
        ) from error
