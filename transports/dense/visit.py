"""A peer's way in: from its accept to its 101, or to the answer that turns it away (semantics 7, `accept`)."""

from __future__ import annotations

import logging
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVarTuple

import trio

from ...engine.errors import LogUnavailable
from ...engine.stations import Connection, NotAdmitted
from ..admission import LAST_WORD, Knock, Refusal, Welcome
from ..endings import ABORTED
from ..handshake.answers import Refused, crowded, refuse_fragment, refuse_tls, retry_after
from ..handshake.proxy import HealthCheck
from ..handshake.reception import Guest, Reception, not_now, unwritable
from ..sockets.nonblocking import WOULD_BLOCK, peek
from ..sockets.tls import certificate_of, context_of
from .house import House
from .parting import Parting, close
from .peer import Peer
from .reactor import READ

Given = TypeVarTuple("Given")

_LOG: Final = logging.getLogger(__name__)

_CHUNK: Final = 4096


class Visit:
    """A handshake under way. It is gone once the peer is in, or away."""

    __slots__ = (
        "_connection",
        "_flights",
        "_guest",
        "_house",
        "_over",
        "_peer",
        "_reception",
        "_secured",
        "_sock",
        "_undecided",
        "_waiting",
        "_watched",
        "began",
    )

    def __init__(self, house: House, sock: socket.socket, remote: str) -> None:
        self.began = now = trio.current_time()
        self._house = house
        self._sock = sock
        self._reception = Reception(house.manners, remote)
        self._undecided = house.door.handshake()
        self._waiting = house.lobby.enter(self.progress, self.make_room, now)
        self._flights = 0
        """How often something came of the peer's TLS handshake."""
        self._secured = house.tls is None
        self._watched = 0
        """The events that the reactor tells of."""
        self._guest: Guest | None = None
        self._peer: Peer | None = None
        self._connection: Connection | None = None
        self._over = False
        house.visitors[self] = None

    def begin(self) -> None:
        """Look whether the peer has said something already; most have."""
        self._guarded(self._go_on)

    # --- what the reactor and the house tell --------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        self._guarded(self._go_on)

    def failed(self) -> None:
        self._turn_away(Refused(500, "internal_error", "a fault of ours; see our log"))

    def late(self) -> None:
        """The time for the handshake is over."""
        if self._reception.claimed:
            hint = "it could not be decided in time whether to let it in"
            refused = Refused(503, "handshake_timeout", hint, retry_after(5))
        else:
            refused = refuse_fragment(self._reception.received, late=True)
        self._guarded(self._turn_away, refused)

    def progress(self) -> int | None:
        """Return how far the peer has come; None if it waits for us (`gate.places.Waiting`)."""
        if self._reception.claimed or peek(self._sock):
            return None
        return len(self._reception.received) + self._flights

    def make_room(self) -> None:
        """It got nowhere while others waited for its place."""
        self._guarded(self._turn_away, crowded())

    def close(self) -> None:
        """Close the socket without a word: the transport is at its end."""
        if not self._over:
            self._done()
            close(self._house, self._sock)

    # --- in order -----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._introduced() and (self._secured or self._secure()):
            self._hear()

    def _introduced(self) -> bool:
        """Read what a proxy in front says of the peer, if one has to; return whether that is done.

        Raises:
            Refused: it says nothing, or nothing that can be understood.
        """
        while missing := self._reception.missing:
            data = self._receive(missing)
            if data is None:
                return False
            try:
                self._reception.announce(data)
            except HealthCheck:
                self._went_away()
                return False
        return True

    def _secure(self) -> bool:
        """Go on with the TLS handshake; return whether it is done.

        Raises:
            Refused: it failed.
        """
        assert self._house.tls is not None
        try:
            if not isinstance(self._sock, ssl.SSLSocket):
                # After a reset `wrap_socket` takes our socket, raises, and leaves it to the garbage collector.
                with suppress(*WOULD_BLOCK):
                    self._sock.recv(1, socket.MSG_PEEK)
                context = context_of(self._house.tls)
                self._sock = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            self._flights += bool(peek(self._sock))
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(READ)
            return False
        except ssl.SSLWantWriteError:
            self._watch(select.EPOLLOUT)
            return False
        except OSError as error:
            raise refuse_tls(error) from None
        self._secured = True
        self._reception.secured(self._sock.version(), certificate_of(self._sock))
        return True

    def _hear(self) -> None:
        """Read the head; go on once it is whole.

        Raises:
            Refused: it is not what it should be.
        """
        while not self._over:
            data = self._receive(_CHUNK)
            if data is None:
                return
            knock = self._reception.receive(data)
            if knock is not None:
                self._ask(knock)
                return

    def _receive(self, size: int) -> bytes | None:
        """Return what has come; None if nothing has yet, or the peer is gone."""
        try:
            data = self._sock.recv(size)
        except WOULD_BLOCK:
            self._watch(READ)
            return None
        except OSError:
            data = b""
        if not data:
            self._went_away()
            return None
        return data

    def _ask(self, knock: Knock) -> None:
        """Ask whoever decides: in a task, if that takes waiting.

        Raises:
            Refused: nobody is asked.
        """
        refused = self._house.gate.may_try(self._reception.remote, knock.station, trio.current_time())
        if refused is not None:
            raise refused
        # What comes from now on waits in the socket.
        self._house.reactor.forget(self._sock.fileno())
        self._watched = 0
        at_once = self._house.at_once
        answer = None if at_once is None else at_once(knock)
        if answer is None or (isinstance(answer, Refusal) and answer.delay):
            self._house.nursery.start_soon(self._ask_patiently, knock, answer)
        else:
            self._answered(answer)

    async def _ask_patiently(self, knock: Knock, answer: Welcome | Refusal | None) -> None:
        try:
            with trio.move_on_at(self.began + self._house.handshake_timeout):
                answer = answer or await self._house.manners.admit(knock)
                if isinstance(answer, Refusal):
                    # Not past the end of the handshake's time: that would be a 503, which holds up the grace.
                    left = trio.current_effective_deadline() - trio.current_time() - LAST_WORD
                    await trio.sleep(max(0.0, min(answer.delay, left)))
            if answer is None:
                return  # its time is over, and `late` tells it so
        except Exception:
            _LOG.exception("deciding about %r failed", knock.station)
            refused = Refused(500, "internal_error", "deciding about this station failed; see our log")
            self._guarded(self._turn_away, refused)
            return
        self._guarded(self._answered, answer)

    def _answered(self, answer: Welcome | Refusal) -> None:
        """Have the station admitted.

        Raises:
            Refused: it must not come in, or not now.
        """
        if self._over:
            return
        guest = self._guest = self._reception.answered(answer)
        busy = self._house.door.busy(guest.arrival.station)
        if busy is not None:
            raise not_now(busy)
        refused = self._house.gate.may_enter(guest.arrival.station, trio.current_time())
        if refused is not None:
            raise refused
        if peek(self._sock) == b"":
            self._went_away()
            return
        self._peer = Peer(self._house, self._sock)
        try:
            self._connection = self._house.door.let_in(guest.arrival, self._peer, self._decided)
        except NotAdmitted as error:
            raise not_now(error.busy) from None
        except LogUnavailable:
            raise unwritable() from None

    def _decided(self, error: LogUnavailable | None) -> None:
        self._guarded(self._enter, error)

    def _enter(self, error: LogUnavailable | None) -> None:
        """The station's `opened` is in the log, and folded: tell it so, or why not.

        Raises:
            Refused: it cannot come in now.
        """
        if self._over:
            return
        connection, guest, peer = self._connection, self._guest, self._peer
        assert connection is not None
        assert guest is not None
        assert peer is not None
        if isinstance(error, NotAdmitted):
            raise not_now(error.busy)
        if error is not None:
            raise unwritable()
        answer = self._reception.switching(guest.subprotocol, guest.deflate)
        if peek(self._sock) == b"" or not self._write(answer):
            connection.ended(ABORTED)
            self._went_away()
            return
        early = self._reception.early
        self._done()
        try:
            peer.open(connection, early, deflate=guest.deflate is not None)
        except Exception:
            peer.failed()  # it is in, so its connection has to end
            raise

    # --- the end ------------------------------------------------------------------------------------------------------

    def _turn_away(self, refused: Refused) -> None:
        """Answer with a refusal, and tell the door."""
        if self._over:
            return
        if self._connection is not None:
            self._connection.ended(ABORTED)
        if self._secured:
            self._write(self._reception.farewell(refused))
        self._done()
        try:
            self._tell(refused)
        finally:
            Parting(self._house, self._sock, stranger=True)

    def _went_away(self) -> None:
        """The peer is gone. Who said nothing at all was a port scan or a health check."""
        self._done()
        try:
            if self._reception.received:
                self._tell(refuse_fragment(self._reception.received, late=False))
        finally:
            close(self._house, self._sock)

    def _tell(self, refused: Refused) -> None:
        reception = self._reception
        self._house.gate.refused(reception.remote, refused.status, trio.current_time())
        self._house.door.refused(
            reception.claimed,
            reason=refused.reason,
            status=refused.status,
            hint=refused.hint,
            remote=reception.remote,
        )

    def _done(self) -> None:
        """The handshake is decided."""
        self._over = True
        self._connection = self._peer = None
        self._house.visitors.pop(self, None)
        self._house.lobby.leave(self._waiting)
        del self._waiting  # it knows us: else both would wait for the garbage collector, with all that we hold
        self._undecided.decided()

    # -----------------------------------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[*Given], None], *given: *Given) -> None:
        """Do a step; whatever is wrong with the peer, or with us, is answered and stays here."""
        try:
            try:
                step(*given)
            except Refused as refused:
                self._turn_away(refused)
        except Exception:
            _LOG.exception("letting in a station failed")
            self.failed()

    def _watch(self, events: int) -> None:
        if not self._watched:
            self._house.reactor.watch(self._sock.fileno(), self, events)
        elif events != self._watched:
            self._house.reactor.change(self._sock.fileno(), events)
        self._watched = events

    def _write(self, data: bytes) -> bool:
        """Write an answer, which any socket takes whole; return whether it did."""
        try:
            return self._sock.send(data) == len(data)
        except OSError:
            return False
