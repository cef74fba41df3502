"""The suite that every log must pass, ours or yours.

Derive a class from `LogConformance` in a test module of your own, and say how a log is opened:

    class TestMyLog(LogConformance):
        def open_log(self, folder: Path) -> Log:
            return MyLog(folder / "log")

pytest then runs each promise of the `Log` protocol as one test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from ..codec import seal
from ..entry import Beat, Entry, Recorded, recorded
from ..errors import Conflict, Fenced, LogUnavailable
from ..events import (
    DeliveryParked,
    DeliverySucceeded,
    Event,
    GatewayLost,
    GatewayStopped,
    HandshakeRefused,
    StationRemoved,
    WebhookTested,
)
from ..log import Attempted, Log, Snapshot

SECOND = 1_000_000


def some_entry(
    id: str,
    event: Event | None = None,
    *,
    at: int = 1_790_000_000 * SECOND,
    subject: str = "CP-1",
    run: str = "run-a",
    private: bytes = b"",
) -> Entry:
    """Return an entry that is good for any log; by default the plainest there is."""
    event = event if event is not None else StationRemoved()
    return seal(event, id=id, at=at, subject=subject, gateway="gw", run=run, private=private)


def some_attempt(message: str, *, number: int = 1) -> Attempted:
    """Return a word about a failed attempt."""
    return Attempted(
        message=message,
        round=0,
        number=number,
        at=5,
        due=5 * SECOND,
        delay=5.0,
        status=503,
        error="Service Unavailable",
    )


def _delivered(message: str) -> DeliverySucceeded:
    return DeliverySucceeded(
        message=message, webhook="w", position=1, round=0, attempts=2, status=204, attempted_at=7, latency=0.1
    )


def _parked(message: str) -> DeliveryParked:
    return DeliveryParked(
        message=message, webhook="w", position=1, round=0, attempts=9, attempted_at=7, latency=0.1, reason="timeout"
    )


def _lost(run: str) -> GatewayLost:
    return GatewayLost(run=run, alive_at=3, listened=2.0, found_by="gw")


def _ids(events: Iterator[Recorded]) -> list[str]:
    return [event.id for event in events]


class LogConformance(ABC):
    """The promises of `Log`, as tests."""

    durable = True
    """Whether a log that was closed can be opened again with all it held; say False for one in memory."""

    @abstractmethod
    def open_log(self, folder: Path) -> Log:
        """Open the log in a folder, empty the first time, with all that was appended there later."""

    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[Log]:
        log = self.open_log(tmp_path)
        yield log
        log.close()

    # --- positions and reading -----------------------------------------------------------------------------------

    def test_an_empty_log_is_at_position_0(self, log: Log) -> None:
        assert (log.position, log.latest_at, list(log.read()), log.position_at(2**62)) == (0, 0, [], 0)

    def test_positions_are_1_2_3_in_the_order_of_appends(self, log: Log) -> None:
        assert log.append([some_entry("c"), some_entry("a")]) == [1, 2]
        assert log.append([some_entry("b")]) == [3]

        assert [(event.position, event.id) for event in log.read()] == [(1, "c"), (2, "a"), (3, "b")]
        assert log.position == 3

    def test_what_is_read_is_byte_for_byte_what_was_appended(self, log: Log) -> None:
        odd = HandshakeRefused(claimed="Ä\x00'\"\n€", reason="x" * 10_000, status=404, first_at=0, last_at=2**53)
        entries = [
            some_entry("odd", odd, subject="Säule 7 / Süd", private=b"\x00\xff192.0.2.1"),
            some_entry("plain", subject="", run="", at=0),
            some_entry("late", at=2**62),
        ]
        log.append(entries)

        assert list(log.read()) == [recorded(entry, position) for position, entry in enumerate(entries, 1)]

    def test_an_append_of_nothing_is_nothing(self, log: Log) -> None:
        assert log.append([]) == []
        assert log.position == 0

    def test_reading_begins_after_one_position_and_ends_with_another(self, log: Log) -> None:
        log.append([some_entry(str(n)) for n in range(1, 7)])

        assert _ids(log.read(2)) == ["3", "4", "5", "6"]
        assert _ids(log.read(2, until=4)) == ["3", "4"]
        assert _ids(log.read(6)) == _ids(log.read(4, until=4)) == _ids(log.read(99)) == []
        assert _ids(log.read(-1, until=99)) == ["1", "2", "3", "4", "5", "6"]

    def test_reading_can_be_narrowed_to_a_subject_and_to_kinds(self, log: Log) -> None:
        log.append([some_entry("1"), some_entry("2", subject="CP-2"), some_entry("3", WebhookTested())])
        log.append([some_entry("4", subject=""), some_entry("5")])

        assert _ids(log.read(subject="CP-1")) == ["1", "3", "5"]
        assert _ids(log.read(subject="CP-1", kinds=["station.removed"])) == ["1", "5"]
        assert _ids(log.read(kinds={"webhook.tested", "no.such"})) == ["3"]
        assert _ids(log.read(1, until=4, subject="CP-1")) == ["3"]
        assert _ids(log.read(subject="")) == ["4"]
        assert _ids(log.read(kinds=[])) == _ids(log.read(subject="CP")) == []

    def test_long_reads_miss_and_repeat_nothing(self, log: Log) -> None:
        for start in range(0, 45_000, 9_000):
            log.append([some_entry(str(n), subject=f"CP-{n % 3}") for n in range(start, start + 9_000)])

        assert _ids(log.read()) == [str(n) for n in range(45_000)]
        assert _ids(log.read(subject="CP-1")) == [str(n) for n in range(1, 45_000, 3)]
        assert sum(1 for _ in log.read(5, kinds=["station.removed"])) == 44_995

    def test_what_is_appended_during_a_read_disturbs_it_not(self, log: Log) -> None:
        log.append([some_entry(str(n)) for n in range(5_000)])
        reading = log.read()
        first = _ids(islice(reading, 10))
        log.append([some_entry("new")])

        rest = [id for id in _ids(reading) if id != "new"]
        assert first + rest == [str(n) for n in range(5_000)]

    # --- the same id ---------------------------------------------------------------------------------------------

    def test_the_same_entry_again_has_its_old_position(self, log: Log) -> None:
        log.append([some_entry("a"), some_entry("b")])

        assert log.append([some_entry("b")]) == [2]
        assert log.append([some_entry("new"), some_entry("a"), some_entry("newer")]) == [3, 1, 4]
        assert _ids(log.read()) == ["a", "b", "new", "newer"]

    def test_the_same_entry_twice_in_a_batch_is_written_once(self, log: Log) -> None:
        assert log.append([some_entry("a"), some_entry("b"), some_entry("a")]) == [1, 2, 1]
        assert log.position == 2

    def test_other_bytes_under_an_id_are_a_conflict_and_nothing_is_written(self, log: Log) -> None:
        log.append([some_entry("a")])

        with pytest.raises(Conflict) as caught:
            log.append([some_entry("b"), some_entry("a", subject="CP-2")], beat=Beat("run-a", 9, 9.0))
        assert caught.value.id == "a"
        assert (_ids(log.read()), log.position, dict(log.beats())) == (["a"], 1, {})

    def test_a_batch_that_contradicts_itself_is_a_conflict(self, log: Log) -> None:
        with pytest.raises(Conflict):
            log.append([some_entry("a"), some_entry("a", at=7)])
        assert log.position == 0

    def test_private_bytes_count_as_content(self, log: Log) -> None:
        log.append([some_entry("a", private=b"192.0.2.1")])

        with pytest.raises(Conflict):
            log.append([some_entry("a", private=b"192.0.2.2")])

    # --- ended runs ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "end",
        [some_entry("end", GatewayStopped(listened=1.0)), some_entry("end", _lost("run-a"), run="run-b")],
        ids=["stopped", "lost"],
    )
    def test_an_ended_run_appends_no_more(self, log: Log, end: Entry) -> None:
        log.append([some_entry("before"), end])

        with pytest.raises(Fenced) as caught:
            log.append([some_entry("other", run="run-c"), some_entry("after")], beat=Beat("run-a", 9, 9.0))
        assert caught.value.run == "run-a"
        assert (_ids(log.read()), dict(log.beats())) == (["before", "end"], {})

    def test_an_ended_run_fences_nobody_else(self, log: Log) -> None:
        log.append([some_entry("end", GatewayStopped(listened=1.0))])

        assert log.append([some_entry("other", run="run-b"), some_entry("tool", run="")]) == [2, 3]

    def test_an_ended_run_is_still_told_what_it_had_written(self, log: Log) -> None:
        end = some_entry("end", GatewayStopped(listened=1.0))
        log.append([some_entry("before"), end])

        assert log.append([some_entry("before"), end]) == [1, 2]

    def test_the_fence_holds_from_the_next_entry_of_the_same_batch_on(self, log: Log) -> None:
        with pytest.raises(Fenced):
            log.append([some_entry("end", GatewayStopped(listened=1.0)), some_entry("after")])
        assert log.append([some_entry("before"), some_entry("end", GatewayStopped(listened=1.0))]) == [1, 2]

    def test_a_run_may_be_found_lost_though_it_is_over(self, log: Log) -> None:
        log.append([some_entry("end", GatewayStopped(listened=1.0))])

        assert log.append([some_entry("lost", _lost("run-a"), run="run-b")]) == [2]

    # --- beside the events ---------------------------------------------------------------------------------------

    def test_the_newest_beat_of_each_run_is_kept(self, log: Log) -> None:
        log.append([some_entry("a")], beat=Beat("run-a", 1, 0.5))
        log.append([], beat=Beat("run-b", 2, 1.0))
        log.append([], beat=Beat("run-a", 3, 1.5))

        assert log.beats() == {"run-a": Beat("run-a", 3, 1.5), "run-b": Beat("run-b", 2, 1.0)}

    def test_attempts_are_kept_until_the_outcome(self, log: Log) -> None:
        log.append([], attempts=[some_attempt("m1"), some_attempt("m2"), some_attempt("m3")])
        log.append([some_entry("a")], attempts=[some_attempt("m1", number=2)])
        log.append([some_entry("ok", _delivered("m2")), some_entry("no", _parked("m3"))], attempts=[some_attempt("m3")])

        assert log.attempts() == {"m1": some_attempt("m1", number=2)}

    def test_every_attempt_is_remembered_also_after_the_outcome(self, log: Log) -> None:
        again = Attempted("m", 1, 1, 9, 10, 1.0, None, "timeout")
        log.append([], attempts=[some_attempt("m")])
        log.append([], attempts=[some_attempt("m", number=2), some_attempt("other")])
        log.append([some_entry("no", _parked("m"))])
        log.append([], attempts=[again])

        assert list(log.attempts_at("m")) == [some_attempt("m"), some_attempt("m", number=2), again]
        assert log.attempts() == {"m": again, "other": some_attempt("other")}
        assert list(log.attempts_at("nobody's")) == []

    def test_an_attempt_may_have_had_no_answer(self, log: Log) -> None:
        attempt = Attempted("m", 3, 1, 1, 2, 0.25, None, "connection refused")
        log.append([], attempts=[attempt])

        assert log.attempts() == {"m": attempt}

    def test_a_snapshot_replaces_the_older_one_of_its_projection(self, log: Log) -> None:
        log.keep_snapshots([Snapshot("presence", 1, 10, b"leaf", b"old")])
        log.keep_snapshots([Snapshot("outbox", 7, 12, b"fael", b"\x00" * 100_000)])
        log.keep_snapshots([Snapshot("presence", 2, 11, b"flea", b"")])

        assert log.snapshot("presence") == Snapshot("presence", 2, 11, b"flea", b"")
        assert log.snapshot("outbox") == Snapshot("outbox", 7, 12, b"fael", b"\x00" * 100_000)
        assert log.snapshot("registry") is None

    # --- time ----------------------------------------------------------------------------------------------------

    def test_a_time_means_the_last_position_at_or_before_it(self, log: Log) -> None:
        log.append([some_entry(str(at), at=at) for at in (10, 20, 15, 30)])

        assert [log.position_at(at) for at in (9, 10, 14, 15, 20, 29, 30, 99)] == [0, 1, 1, 3, 3, 3, 4, 4]

    def test_a_time_is_found_among_thousands(self, log: Log) -> None:
        ats = [n * 10 for n in range(2_500)]
        ats[2_100] = 5  # an event of long ago that was written late
        log.append([some_entry(str(n), at=at) for n, at in enumerate(ats)])

        assert [log.position_at(at) for at in (0, 9, 15_000, 20_990, 99_999)] == [1, 2_101, 2_101, 2_101, 2_500]
        assert log.position_at(21_010) == 2_102

    def test_the_newest_time_need_not_be_the_last(self, log: Log) -> None:
        log.append([some_entry("a", at=30), some_entry("b", at=20)])
        log.append([some_entry("c", at=25)])

        assert log.latest_at == 30

    # --- closing, recovering, opening again ----------------------------------------------------------------------

    def test_recovering_a_sound_log_changes_nothing(self, log: Log) -> None:
        log.append([some_entry("a")])
        log.recover()

        assert log.append([some_entry("b"), some_entry("a")]) == [2, 1]

    def test_a_closed_log_takes_nothing(self, log: Log) -> None:
        log.close()
        log.close()

        with pytest.raises(LogUnavailable):
            log.append([some_entry("a")])

    def test_all_is_there_when_it_is_opened_again(self, log: Log, tmp_path: Path) -> None:
        if not self.durable:
            pytest.skip("this log is gone when it is closed")
        log.append([some_entry("a", private=b"x"), some_entry("end", GatewayStopped(listened=1.0))])
        log.append([], beat=Beat("run-a", 1, 0.5), attempts=[some_attempt("m")])
        log.keep_snapshots([Snapshot("presence", 1, 1, b"leaf", b"state")])
        before = (list(log.read()), log.beats(), log.attempts(), log.snapshot("presence"), log.latest_at)
        log.close()

        again = self.open_log(tmp_path)
        assert before == (
            list(again.read()), again.beats(), again.attempts(), again.snapshot("presence"), again.latest_at
        )  # fmt: skip
        with pytest.raises(Fenced):
            again.append([some_entry("after")])
        assert again.append([some_entry("b", run="run-b")]) == [3]
        again.close()
