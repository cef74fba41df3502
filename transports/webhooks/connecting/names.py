"""The addresses of receivers, looked up so that a name whose servers are silent costs nobody else.

A lookup cannot be called off: the system's resolver may hold its thread for half a minute. So there is one lookup for a
name, whoever waits for it, and whoever gave up; the threads are our own, and bounded; and names that were slow the last
time share a few of them. Answers are kept for seconds only: each connection checks the addresses that it goes to.
"""

from __future__ import annotations

import socket
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias

import trio

from ..targets import LocalTrouble, Trouble, is_address
from .proof import Proof

Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]
"""Family, and what `socket.connect` takes in that family."""

THREADS: Final = 32
"""For names in good standing, which are answered in milliseconds."""
THREADS_FOR_SLOW: Final = 8
SLOW: Final = 2.0
"""Seconds after which a lookup was slow; a name server that is asked a second time answers within 5."""
KEPT_SECONDS: Final = 5.0
"""As long as many connections to one receiver may begin at once; the shortest lives of names are about as long."""
MOST_ADDRESSES: Final = 16
"""Of a name that are checked, and tried, in one attempt. A name may have thousands, whose checks would hold up all
others. Those beyond are not gone to, so it does no harm that they may be private ones; the next attempt looks the name
up again, and name servers change the order."""
_MOST: Final = 1024
"""Names that are remembered, and names that wait."""

_GONE: Final = (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_FAIL, socket.EAI_ADDRFAMILY)


class Names:
    """Looks up names, each once at a time."""

    def __init__(self) -> None:
        self.under_way: dict[str, _Lookup] = {}
        """Also those for which nobody waits any more."""
        self.slow: OrderedDict[str, None] = OrderedDict()
        """Names whose last lookup was slow."""
        self._known: OrderedDict[str, tuple[float, Sequence[Address]]] = OrderedDict()
        self._queues = {False: _Queue(THREADS), True: _Queue(THREADS_FOR_SLOW)}
        self._proof = Proof()
        """Names that had an answer: our name servers can be reached."""

    async def find(self, host: str, port: int, timeout: float) -> Sequence[Address]:
        """Return addresses of a host, in the order in which they should be tried: one to `MOST_ADDRESSES`.

        Args:
            host: a name in ASCII, or an address, as a `Target` has them.
            port: goes into each address.
            timeout: seconds to wait; the lookup itself goes on for those who ask next.

        Raises:
            Trouble: the name has no address, or nobody knows it.
            LocalTrouble: our own name servers say nothing.
        """
        if is_address(host):
            return [_v6(host, port) if ":" in host else (socket.AF_INET, (host, port))]
        kept = self._known.get(host)
        if kept is None or kept[0] + KEPT_SECONDS <= trio.current_time():
            lookup = self.under_way.get(host) or self._begin(host)
            with trio.move_on_after(timeout):
                await lookup.done.wait()
            if not lookup.done.is_set():
                raise self._unanswered(host, f"no name server answered within {timeout:g} s")
            if lookup.error is not None:
                raise self._trouble(host, lookup.error)
            kept = (0.0, lookup.found)
        return [(family, (address[0], port, *address[2:])) for family, address in kept[1]]

    def _begin(self, host: str) -> _Lookup:
        queue = self._queues[host in self.slow]
        if len(queue.waiting) >= _MOST:
            raise LocalTrouble(f"the name {host} is not looked up: too many others wait for name servers")
        lookup = self.under_way[host] = _Lookup(host)
        queue.waiting.append(lookup)
        self._start(queue)
        return lookup

    def _start(self, queue: _Queue) -> None:
        """Begin as many lookups as there are threads; whether or not somebody still waits, the answer is of use."""
        token = trio.lowlevel.current_trio_token()

        def end(lookup: _Lookup, answer: Sequence[Address] | Exception) -> None:
            self._end(queue, lookup, answer)
            self._start(queue)

        def deliver(lookup: _Lookup, result: Any) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(end, lookup, result.unwrap())

        while queue.waiting and queue.running < queue.threads:
            lookup = queue.waiting.popleft()
            lookup.begun = trio.current_time()
            queue.running += 1
            try:
                trio.lowlevel.start_thread_soon(partial(_ask, lookup.host), partial(deliver, lookup))
            except RuntimeError as error:  # no thread can be started
                self._end(queue, lookup, OSError(str(error)))

    def _end(self, queue: _Queue, lookup: _Lookup, answer: Sequence[Address] | Exception) -> None:
        now, host = trio.current_time(), lookup.host
        queue.running -= 1
        del self.under_way[host]
        if isinstance(answer, Exception):
            lookup.error = answer
        else:
            lookup.found = answer
            _remember(self._known, host, (now, lookup.found), _MOST)
            self._proof.served(host)
        self.slow.pop(host, None)
        if now - lookup.begun >= SLOW:
            _remember(self.slow, host, None, _MOST)
        lookup.done.set()

    def _trouble(self, host: str, error: Exception) -> Trouble:
        words = (error.strerror if isinstance(error, OSError) else "") or str(error)
        if isinstance(error, socket.gaierror):
            if error.errno in _GONE:
                return Trouble(f"the name {host} cannot be resolved: {words}")
            if error.errno == socket.EAI_AGAIN:
                return self._unanswered(host, words)
        return LocalTrouble(f"the name {host} cannot be looked up: {words}")

    def _unanswered(self, host: str, words: str) -> Trouble:
        """Our name servers, or those of the name? Ours, unless they lately had an answer about another."""
        theirs = self._proof.another_than(host)
        return (Trouble if theirs else LocalTrouble)(f"the name {host} cannot be resolved: {words}")


class _Lookup:
    """What is being found out about a name."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.begun = 0.0
        self.found: Sequence[Address] = ()
        self.error: Exception | None = None
        self.done = trio.Event()


class _Queue:
    """Lookups that share some threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.running = 0
        self.waiting: deque[_Lookup] = deque()


def _ask(host: str) -> Sequence[Address] | Exception:
    """Ask the system; in a thread. Bytes, since of text Python would make another name by an older IDNA."""
    try:
        found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    except Exception as error:
        return error
    addresses = [(family, where) for family, _, _, _, where in found if family in (socket.AF_INET, socket.AF_INET6)]
    if not addresses:
        return socket.gaierror(socket.EAI_NONAME, "it has no address")
    return _in_turns(addresses)[:MOST_ADDRESSES]


def _in_turns(found: Sequence[Address]) -> Sequence[Address]:
    """Return addresses with the families in turns (RFC 8305, 4): where one of them leads nowhere, the next does not."""
    first = found[0][0]
    same = [one for one in found if one[0] == first]
    other = [one for one in found if one[0] != first]
    turns = [one for pair in zip(same, other, strict=False) for one in pair]
    return turns + same[len(other) :] + other[len(same) :]


def _v6(host: str, port: int) -> Address:
    return socket.AF_INET6, (host, port, 0, 0)


def _remember(memory: OrderedDict[str, Any], host: str, what: object, most: int) -> None:
    memory[host] = what
    memory.move_to_end(host)
    if len(memory) > most:
        memory.popitem(last=False)
