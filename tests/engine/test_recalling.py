"""A backlog that the outbox has no room for, over a log on the disk: what it says is put by, lost, and told anew.

Whatever becomes of the file beside the log, of the process and of its snapshots: no body changes, and no order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, cast

import pytest
import trio
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from stationkeeper.engine import Engine, open_engine
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened, WebhookAdded, WebhookEnabled, WebhookPaused
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log import Log
from stationkeeper.engine.log.driver import connect
from stationkeeper.engine.log.reading import read_log
from stationkeeper.engine.log.scenes import SceneFile, scenes_path
from stationkeeper.engine.sending import Answer, Attempt, Owed
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox, presence, scenes
from stationkeeper.projections.box import LANE

STATIONS = ("A", "B", "C")
WEBHOOKS: tuple[Literal["every", "latest"], ...] = ("every", "latest")
FATES = ("kept", "lost", "swapped", "spoiled", "cut")
"""What becomes of the file while nobody runs."""


class Receiver:
    """Accepts everything, and keeps it."""

    def __init__(self) -> None:
        self.accepted: list[Attempt] = []

    async def send(self, attempt: Attempt) -> Answer:
        await trio.lowlevel.checkpoint()
        self.accepted.append(attempt)
        return Answer(status=204)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Gateway:
    """An engine that can be stopped, crashed and started again; its webhooks are paused until `drain`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.receiver = Receiver()
        self.connections = 0
        self.looks = 0
        self._clock = VirtualClock()
        self._engine: Engine | None = None
        self._opened: AbstractAsyncContextManager[Engine] | None = None

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    async def start(self) -> None:
        self._opened = open_engine(
            self.path, transports=[self.receiver], projections=[presence, outbox], clock=self._clock, inline=True
        )
        self._engine = engine = await self._opened.__aenter__()
        engine.secrets.keep("s", b"k" * 24)
        reader = engine.reader

        @contextmanager
        def counted() -> Generator[Log]:
            self.looks += 1
            with reader() as log:
                yield log

        assert engine.recalling is not None
        engine.recalling._reader = counted  # pyright: ignore[reportPrivateUsage]

    async def stop(self, *, crash: bool = False) -> None:
        if crash:
            self.engine.hurry()  # no last word, and no snapshot
        assert self._opened is not None
        await self._opened.__aexit__(None, None, None)

    async def subscribe(self, *, paused: bool = True) -> None:
        for webhook in WEBHOOKS:
            added = WebhookAdded(url="https://x.example/", secrets=("s",), mode=webhook)
            await self.engine.record(added, subject=webhook)
            if paused:
                await self.engine.record(WebhookPaused(), subject=webhook)

    async def flip(self, station: str) -> None:
        """Open the station's connection, or close it if it is open."""
        known = self.engine.state(presence).get(station)
        if known is not None and known.state == "on" and known.connection is not None:
            event = ConnectionClosed(
                connection=known.connection.id, side="station", cause="station_closed", alive_at=self.engine.now()
            )
            await self.engine.record(event, subject=station)
        else:
            self.connections += 1
            opened = ConnectionOpened(
                connection=f"{self.engine.run}-{self.connections}", ping_interval=25, ping_timeout=20, silence=900
            )
            await self.engine.record(opened, subject=station)

    async def drain(self) -> None:
        for webhook in WEBHOOKS:
            await self.engine.record(WebhookEnabled(), subject=webhook)
        with trio.fail_after(3600):
            while self.engine.state(outbox).oldest_cause() is not None:
                await self.engine.beyond(self.engine.position)


def derived(path: Path) -> dict[str, tuple[Owed, bytes]]:
    """Return every message that the log derives, with its body as of its cause, as a plain fold says it."""
    folding, told = Fold([outbox]), dict[str, tuple[Owed, bytes]]()
    for recorded in read_log(path):
        for message in folding.advance(recorded).changes(outbox):
            if message.state == "pending" and message.position == recorded.position:
                told[message.id] = message, folding.state(outbox).body(message)
    return told


def rights(file: Path) -> int:
    return file.stat().st_mode & 0o777


def spoil(path: Path, fate: str) -> None:
    """Let something become of the file."""
    file = scenes_path(path)
    if fate == "lost":
        for end in ("", "-wal", "-shm"):
            file.with_name(file.name + end).unlink(missing_ok=True)
    elif fate == "swapped" and file.exists():
        with closing(connect(file, mode="rw")) as connection:
            connection.execute("UPDATE scene SET told = (SELECT told FROM scene ORDER BY position DESC LIMIT 1)")
    elif fate in ("spoiled", "cut") and file.exists():
        written = file.read_bytes()
        half = len(written) // 2
        changed = b"" if fate == "cut" else bytes(byte ^ 0x55 for byte in written[half:])
        file.write_bytes(written[:half] + changed)


@pytest.fixture(autouse=True, scope="module")
def little_room() -> Iterator[None]:
    """Let the outbox keep five scenes, and put each by that it forgets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "KEPT", 5)
        patch.setattr("stationkeeper.engine.recalling.AT_ONCE", 1)
        patch.setattr("stationkeeper.engine.recalling.SWEEP", 7)
        yield


def run(live: Callable[[Path], Awaitable[None]]) -> None:
    with TemporaryDirectory() as folder:
        trio.run(live, Path(folder) / "fleet.db", clock=MockClock(autojump_threshold=0))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("flips"), st.lists(st.sampled_from(STATIONS), min_size=1, max_size=12)),
        st.tuples(st.sampled_from(["stop", "crash"]), st.sampled_from(FATES)),
        st.tuples(st.just("drain"), st.none()),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=examples(12), deadline=None)
@given(story=steps)
def test_whatever_becomes_of_what_was_put_by_no_body_and_no_order_changes(
    story: list[tuple[str, object]],
) -> None:
    async def live(path: Path) -> None:
        gateway = Gateway(path)
        await gateway.start()
        await gateway.subscribe()
        for what, how in [*story, ("drain", None)]:
            if isinstance(how, list):
                for station in cast("list[str]", how):
                    await gateway.flip(station)
            elif isinstance(how, str):
                await gateway.stop(crash=what == "crash")
                spoil(path, how)
                await gateway.start()
            else:
                await gateway.drain()
        skipped = {
            message.id for webhook in WEBHOOKS for message in gateway.engine.state(outbox).messages(webhook, "skipped")
        }
        await gateway.stop()

        expected = derived(path)
        accepted: dict[str, bytes] = {}
        positions: dict[tuple[str, str], list[int]] = defaultdict(list)
        for attempt in gateway.receiver.accepted:
            message, body = expected[attempt.message]
            assert attempt.body == body
            if attempt.message not in accepted:
                positions[message.webhook, message.subject].append(message.position)
            accepted[attempt.message] = body
        assert accepted.keys() | skipped == expected.keys()
        assert all(found == sorted(found) for found in positions.values())
        assert not scenes_path(path).exists(), "nothing is owed, so nothing is left"

    run(live)


def test_what_was_put_by_is_sent_without_a_look_at_the_log() -> None:
    async def live(path: Path) -> None:
        gateway = Gateway(path)
        await gateway.start()
        await gateway.subscribe()
        for _ in range(20):
            for station in STATIONS:
                await gateway.flip(station)
        await gateway.stop(crash=True)
        assert rights(scenes_path(path)) == rights(path)
        await gateway.start()
        await gateway.drain()
        await gateway.stop()

        assert len(gateway.receiver.accepted) == 3 * 20 + 3
        assert gateway.looks == 0

    run(live)


def test_what_was_lost_is_made_with_one_look_at_each_stations_share_of_the_log() -> None:
    async def live(path: Path) -> None:
        gateway = Gateway(path)
        await gateway.start()
        await gateway.subscribe()
        for _ in range(20):
            for station in STATIONS:
                await gateway.flip(station)
        await gateway.stop()
        spoil(path, "lost")
        await gateway.start()
        await gateway.drain()
        await gateway.stop()

        assert len(gateway.receiver.accepted) == 3 * 20 + 3
        assert gateway.looks == len(STATIONS)

    run(live)


def test_a_file_that_cannot_be_kept_costs_a_look_at_the_log_and_nothing_else() -> None:
    async def live(path: Path) -> None:
        scenes_path(path).mkdir()  # no file can be made here
        gateway = Gateway(path)
        await gateway.start()
        await gateway.subscribe()
        for _ in range(LANE // 2):
            await gateway.flip("A")
        await gateway.drain()
        await gateway.stop()

        expected = derived(path)
        assert [attempt.body for attempt in gateway.receiver.accepted] == [
            expected[attempt.message][1] for attempt in gateway.receiver.accepted
        ]
        assert len(gateway.receiver.accepted) == LANE // 2 + 1

    run(live)


def test_what_was_put_by_is_let_go_when_nobody_is_owed_it(tmp_path: Path) -> None:
    log = tmp_path / "fleet.db"
    log.touch()
    with closing(_Closing(SceneFile(log))) as kept:
        file = kept.file
        file.keep({(position, "A"): b"%d" % position for position in range(1, 11)})
        file.let_go(5)
        assert sorted(file.find([(position, "A") for position in range(12)])) == [(at, "A") for at in range(5, 11)]
        assert file.find([(7, "B")]) == {}


def test_of_too_many_that_were_put_by_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stationkeeper.engine.log.scenes.MOST", 20)
    log = tmp_path / "fleet.db"
    log.touch()
    with closing(_Closing(SceneFile(log))) as kept:
        kept.file.keep({(position, "A"): b"" for position in range(1, 31)})
        kept.file.let_go(1)
        found = sorted(kept.file.find([(position, "A") for position in range(1, 31)]))
        assert found == [(position, "A") for position in range(13, 31)]


def test_a_scene_of_which_a_bit_was_changed_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "fleet.db"
    log.touch()
    with closing(_Closing(SceneFile(log))) as kept:
        kept.file.keep({(1, "A"): b"told", (2, "A"): b"told"})
        with closing(connect(scenes_path(log), mode="rw")) as connection:
            ((told,),) = connection.execute("SELECT told FROM scene WHERE position = 1").fetchall()
            changed = bytearray(told[:-1] + bytes([told[-1] ^ 1]))
            connection.execute("UPDATE scene SET told = ? WHERE position = 1", (changed,))
        assert kept.file.find([(1, "A"), (2, "A")]) == {(2, "A"): b"told"}


def test_a_damaged_file_is_begun_anew_once(tmp_path: Path) -> None:
    log = tmp_path / "fleet.db"
    log.touch()
    with closing(_Closing(SceneFile(log))) as kept:
        found: list[bool] = []
        for _ in range(3):
            kept.file.close(needed=True)
            scenes_path(log).write_bytes(b"no database" * 100)
            kept.file.keep({(1, "A"): b"damaged"})
            kept.file.keep({(1, "A"): b"told"})
            found.append(kept.file.find([(1, "A")]) == {(1, "A"): b"told"})
        assert found == [True, False, False]


class _Closing:
    def __init__(self, file: SceneFile) -> None:
        self.file = file

    def close(self) -> None:
        self.file.close(needed=False)
