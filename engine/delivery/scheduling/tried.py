"""What is known of messages that failed: how often, and when each may be tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from ...sending import Owed
from .retries import Progress


class Tried:
    """The progress of every pending message that failed. Nothing of it decides what is owed."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._of: dict[str, set[str]] = {}
        """By webhook: the messages."""
        self.earlier: Callable[[Owed], Progress | None] | None = None
        """Returns what is known of a message from before a restart, when it comes to the head of a lane; none: there
        is nothing left of that."""

    def __getitem__(self, message: str) -> Progress | None:
        return self._progress.get(message)

    def known(self, message: Owed) -> Progress | None:
        """Return the progress of a message in its round; none if it did not fail in that."""
        progress = self._progress.get(message.id)
        if progress is None:
            progress = None if self.earlier is None else self.earlier(message)
            if progress is None:
                return None
            self.note(message, progress)
        return progress if progress.round == message.round else None

    def note(self, message: Owed, progress: Progress) -> None:
        """Keep what is known of a message."""
        self._progress[message.id] = progress
        self._of.setdefault(message.webhook, set()).add(message.id)

    def forget(self, message: Owed) -> None:
        """Drop what is known of a message."""
        if self._progress.pop(message.id, None) is not None:
            self._of[message.webhook].discard(message.id)

    def hasten(self, webhook: str, now: float) -> None:
        """Let every message of a webhook be due now, if it waits."""
        for message in self._messages(webhook):
            progress = self._progress[message]
            if progress.due > now:
                self._progress[message] = replace(progress, due=now)

    def forget_all(self, webhook: str) -> None:
        """Drop what is known of a webhook's messages."""
        for message in self._messages(webhook):
            del self._progress[message]
        self._of.pop(webhook, None)

    def _messages(self, webhook: str) -> Iterator[str]:
        return iter(self._of.get(webhook, ()))
