"""Write a log of a made-up day, the same each time: `python docs/example_log.py example.db`.

Six stations and one gateway, which restarts at three in the morning, stalls before noon, and is lost for half an hour
in the afternoon. The pages of the documentation show what commands say of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stationkeeper.engine.clock import parse_time
from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Beat
from stationkeeper.engine.events import (
    Cause,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    Event,
    GatewayLapsed,
    GatewayLost,
    GatewayStalled,
    GatewayStarted,
    GatewayStopped,
    Micros,
    Side,
)
from stationkeeper.engine.log import Log
from stationkeeper.engine.log.sqlite import open_log

SECOND: Micros = 1_000_000
MIDNIGHT: Micros = parse_time("2025-11-20T00:00:00Z")


class Day:
    """The day, told from its begin to its end; times are `HH:MM` or `HH:MM:SS`."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.run = ""
        self.admitted = 0
        self.open: dict[str, str] = {}
        """Station -> its connection."""

    def write(self, at: str, event: Event, subject: str = "", id: str = "") -> None:
        """Append an event, as the gateway would."""
        moment = time(at)
        entry = seal(event, id=id or f"{event.kind}-{at}", at=moment, subject=subject, gateway="example", run=self.run)
        self.log.append([entry], beat=Beat(self.run, moment, 0.0))

    def start(self, at: str, run: str) -> None:
        self.run, self.admitted = run, 0
        started = GatewayStarted(
            public_url="wss://stations.example/ocpp", ping_interval=25.0, ping_timeout=20.0, silence=900.0, grace=120.0,
            settling=300.0, rules=1, software="0.1.0", host="example",
        )  # fmt: skip
        self.write(at, started, id=run)

    def connect(self, at: str, *stations: str) -> None:
        for station in stations:
            self.admitted += 1
            connection = self.open[station] = f"{self.run}-{self.admitted}"
            opened = ConnectionOpened(
                connection=connection, subprotocol="ocpp1.6", ping_interval=25.0, ping_timeout=20.0, silence=900.0
            )
            self.write(at, opened, station, f"{connection}:opened")

    def fall_silent(self, at: str, *stations: str) -> None:
        """Let stations time out, whose last word came 45 s before."""
        for station in stations:
            connection, alive_at = self.open[station], time(at) - 45 * SECOND
            timed_out = ConnectionPingTimedOut(
                connection=connection, alive_at=alive_at, pinged_at=time(at) - 20 * SECOND, interval=25.0, timeout=20.0,
                lag=0.0,
            )  # fmt: skip
            self.write(at, timed_out, station, f"{connection}:timed_out")
            self.close(at, station, "ping_timeout", "gateway", None, alive_at)

    def close(
        self, at: str, station: str, cause: Cause, side: Side, code: int | None, alive_at: Micros | None = None
    ) -> None:
        connection = self.open.pop(station)
        closed = ConnectionClosed(
            connection=connection,
            side=side,
            code=code,
            cause=cause,
            alive_at=alive_at or time(at),
            received=40,
            sent=40,
        )
        self.write(at, closed, station, f"{connection}:closed")


def time(at: str) -> Micros:
    """Return a time of the day."""
    hours, minutes, *seconds = map(int, at.split(":"))
    return MIDNIGHT + (hours * 3600 + minutes * 60 + sum(seconds)) * SECOND


def write(log: Log) -> None:
    """Write the day into an empty log."""
    day = Day(log)
    day.start("00:00", "night")
    day.connect("00:01", "Harbour-1", "Harbour-2", "Market-1", "Market-2", "Station-Road")
    # A station that says good-bye to be updated.
    day.close("01:10", "Market-2", "station_closed", "station", 1000)
    day.connect("01:32", "Market-2")
    # The gateway is updated: everybody is back within the grace, and nobody was told that anybody was gone.
    for station in list(day.open):
        day.close("03:00", station, "shutdown", "gateway", 1001)
    day.write("03:00:01", GatewayStopped(listened=10_800.0))
    day.start("03:00:20", "day")
    day.connect("03:00:40", "Harbour-1", "Harbour-2", "Market-1", "Market-2", "Station-Road")
    # A bad antenna: it falls silent eleven times, and comes back each time.
    for hour in range(5, 16):
        day.fall_silent(f"{hour:02}:20", "Station-Road")
        day.connect(f"{hour:02}:{26 + hour % 5 * 4}", "Station-Road")
        if hour == 9:
            # A power cut in the harbour.
            day.fall_silent("09:45", "Harbour-1", "Harbour-2")
        if hour == 10:
            day.connect("10:58", "Harbour-1", "Harbour-2")
        if hour == 11:
            # The machine was suspended while it was moved to another host.
            day.write("11:50", GatewayStalled(since=time("11:41"), until=time("11:50")))
        if hour == 12:
            # A new station is put into service.
            day.connect("12:57", "Market-3")
    # The gateway's machine fails. Market-2 does not come back before the grace is over.
    lost = GatewayLost(run="day", alive_at=time("16:31:05"), listened=48_000.0, found_by="example")
    day.run = "evening"
    day.write("17:04", lost, id="day:lost")
    day.start("17:04", "evening")
    day.connect("17:05", "Harbour-1", "Harbour-2", "Market-1", "Market-3", "Station-Road")
    day.write("17:06", GatewayLapsed(run="day", grace=120.0, listened=120.0), id="day:lapsed")
    day.connect("18:40", "Market-2")
    day.fall_silent("23:20", "Harbour-2")
    log.append([], beat=Beat(day.run, time("24:00"), 25_000.0))


def main() -> None:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "example.db")
    if path.exists():
        sys.exit(f"{path} is there already; choose another name")
    log = open_log(path)
    write(log)
    log.close()


if __name__ == "__main__":
    main()
