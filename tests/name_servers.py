"""Name servers that say what a test wants, without one being asked."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from typing import Any, TypeAlias

Answer: TypeAlias = list[str] | OSError | threading.Event

real = socket.getaddrinfo


class Zone:
    """What name servers say: addresses, an error, or nothing until an event is set."""

    def __init__(self) -> None:
        self.names: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.nobody_answers = threading.Event()

    def look_up(self, host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in self.names:
            return real(host, port, *args, **options)
        self.asked[name] += 1
        answer = self.names[name]
        if isinstance(answer, threading.Event):
            answer.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if isinstance(answer, OSError):
            raise answer
        return [row for address in answer for row in real(address, port, *args, **options)]


def gone() -> OSError:
    return socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def again() -> OSError:
    return socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
