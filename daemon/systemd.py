"""Telling systemd how we are (sd_notify(3)): ready, stopping."""

from __future__ import annotations

import logging
import os
import socket

_log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send a state, e.g. `READY=1`, to the service manager; without one nothing happens."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    # A name that begins with @ stands in Linux's abstract namespace, where it begins with a zero byte.
    address = "\0" + place[1:] if place.startswith("@") else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.sendall(state.encode())
    except OSError as error:
        _log.warning("systemd could not be told %r: %s", state.partition("\n")[0], error.strerror or error)
