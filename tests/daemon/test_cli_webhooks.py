"""The command `webhook`: every option, on a log that no daemon holds; a daemon is asked the same requests."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import trustme
from calling import Call, on_log

from stationkeeper.engine.log.reading import read_log

URL = "https://example.com/hook"
CANARY = "canary-5f1c"


def add(call: Call, *words: str) -> dict[str, Any]:
    outcome = on_log(call, "webhook", "add", URL, *words, "--format", "json")
    assert outcome.code == 0, outcome.err
    return dict(json.loads(outcome.out))


def show(call: Call, id: str) -> dict[str, Any]:
    return dict(json.loads(on_log(call, "webhook", "show", id, "--format", "json").out))


def rows(call: Call, *words: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(on_log(call, "webhook", *words, "--format", "csv").out)))


def test_each_option_is_heard(call: Call, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.issue_cert("ours.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "token").write_text(f"Bearer {CANARY}\n")
    made = add(
        call, "--event", "chargestation.offline.confirmed", "--station", "CP-1*", "--site", "North*", "--site", "South",
        "--name", "Operations", "--mode", "latest", "--body-format", "cloudevents", "--signature", "v1a",
        "--signature", "v1", "--header", "X-Team: grid: east", "--header-file", "Authorization=token",
        "--client-certificate", "ours.pem", "--authorities", "ca.pem", "--rate", "2.5", "--concurrency", "3",
        "--initial", "state",
    )  # fmt: skip
    shown = show(call, made["id"])
    plain = on_log(call, "webhook", "add", URL, "--signature", "v1a").out

    assert (shown["events"], shown["stations"]) == (["chargestation.offline.confirmed"], ["CP-1*"])
    assert (shown["sites"], shown["mode"], shown["format"]) == (["North*", "South"], "latest", "cloudevents")
    assert (shown["signatures"], shown["headers"]) == (["v1", "v1a"], ["Authorization", "X-Team"])
    assert (shown["rate"], shown["concurrency"], shown["initial"]) == (2.5, 3, "state")
    assert shown["client_certificate"] is not None
    assert len(shown["authorities"]) == 1
    assert "public key: whpk_" in plain
    assert "secret" not in plain
    assert all(CANARY.encode() not in recorded.body for recorded in read_log("x.db"))


def test_a_change_names_what_changes_and_takes_away_what_it_says(call: Call) -> None:
    id = add(call, "--header", "X-A: 1", "--header", "X-B: 2", "--rate", "5", "--concurrency", "2")["id"]
    on_log(
        call, "webhook", "update", id, "--no-header", "X-A", "--header", "X-C: 3", "--without", "rate", "--site", "N"
    )
    shown = show(call, id)
    handed_out = on_log(call, "webhook", "update", id, "--signature", "v1a", "--signature", "v1").out

    assert (shown["headers"], shown["rate"], shown["concurrency"]) == (["X-B", "X-C"], None, 2)
    assert (shown["sites"], shown["url"]) == (["N"], URL)
    assert "public key: whpk_" in handed_out
    assert "secret" not in handed_out, "the one it has goes on"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("update", "ID"), 2, "say what to change"),
        (("update", "ID", "--rate", "5", "--without", "rate"), 2, "--without rate takes away what --rate gives"),
        (("update", "ID", "--header", "X-A"), 2, "a name, a colon and a value"),
        (("update", "ID", "--header", f"Host: {CANARY}"), 2, "Host is set by Stationkeeper"),
        (("update", "ID", "--header-file", "X-A"), 2, "NAME=PATH"),
        (("update", "ID", "--header-file", "X-A=nowhere"), 2, "nowhere cannot be read"),
        (("update", "ID", "--client-certificate", "nowhere"), 2, "does not exist"),
        (("update", "ID", "--authorities", "x.db"), 2, "no text in UTF-8"),
        (("update", "ID", "--rate", "0"), 2, "0.001 to 100000"),
        (("update", "ID", "--mode", "newest"), 2, "'every', 'latest'"),
        (("rotate-secret", "ID", "--overlap", "soon"), 2, "a duration"),
        (("skip", "msg_X"), 1, "no message 'msg_X'"),
        (("redeliver", "msg_X"), 1, "no message 'msg_X'"),
        (("messages", "wh_x"), 1, "no webhook 'wh_x'"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    call: Call, words: tuple[str, ...], code: int, told: str
) -> None:
    id = add(call)["id"]
    outcome = on_log(call, "webhook", *(id if word == "ID" else word for word in words))

    assert (outcome.code, outcome.out) == (code, "")
    assert told in outcome.err
    assert CANARY not in outcome.err
    assert len(list(read_log("x.db"))) == 1


def test_messages_are_listed_skipped_and_asked_for_again(call: Call) -> None:
    id = add(call)["id"]
    for _ in range(2):
        on_log(call, "webhook", "test", id)
    first, second = rows(call, "messages", id)
    skipped = on_log(call, "webhook", "skip", second["id"])
    twice = on_log(call, "webhook", "skip", second["id"])
    aside = rows(call, "messages", id, "--state", "skipped")
    pending = on_log(call, "webhook", "redeliver", first["id"])
    again = on_log(call, "webhook", "redeliver", second["id"])

    assert (first["type"], first["round"]) == ("webhook.ping", "0")
    assert ([one["id"] for one in aside], skipped.code) == ([second["id"]], 0)
    assert (twice.code, pending.code) == (1, 1)
    assert "only a pending one can be skipped" in twice.err
    assert "is on its way" in pending.err
    assert "is owed again" in again.out
    assert len(rows(call, "messages", id)) == 2


def test_a_rotation_says_for_how_long_the_old_one_signs(call: Call) -> None:
    id = add(call)["id"]
    usual = on_log(call, "webhook", "rotate-secret", id)
    retired = show(call, id)["retiredAt"]
    leaked = on_log(call, "webhook", "rotate-secret", id, "--overlap", "0s")

    assert usual.out.split()[-1].startswith("whsec_")
    assert retired is not None
    assert leaked.code == 0
    assert show(call, id)["retiredAt"] is None


def test_the_list_says_what_stands_in_the_way(call: Call, tmp_path: Path) -> None:
    id = add(call)["id"]
    active = rows(call, "list")
    on_log(call, "webhook", "pause", id)
    paused = rows(call, "list")

    assert [(row["state"], row["problem"]) for row in (*active, *paused)] == [("active", ""), ("paused", "")]


def test_what_comes_to_nothing_says_so(call: Call) -> None:
    id = add(call, "--header", "X-Team: grid")["id"]
    changed = on_log(call, "webhook", "update", id, "--name", "Billing")
    same = on_log(call, "webhook", "update", id, "--name", "Billing")
    wrong = on_log(call, "webhook", "update", id, "--no-header", "Nope")
    lively = on_log(call, "webhook", "test", id)
    on_log(call, "webhook", "pause", id)
    tested = on_log(call, "webhook", "test", id)
    [first, _] = rows(call, "messages", id)
    on_log(call, "webhook", "skip", first["id"])
    recovered = [on_log(call, "webhook", "recover", id, "--since", "1") for _ in range(2)]
    nobody = call("webhook", "list", "--format", "csv", "--url", "http://127.0.0.1:1")

    assert "is changed" in changed.out
    assert "nothing is changed" in same.out
    assert (wrong.code, "the webhook sends no such header; its own are: X-Team" in wrong.err) == (2, True)
    assert "nothing is sent" not in lively.out
    for outcome in (tested, *recovered):
        assert f"it is paused: nothing is sent until `stationkeeper webhook enable {id}`" in outcome.out
    assert [outcome.out.split(" owed")[0] for outcome in recovered] == ["1 message", "0 messages"]
    assert nobody.out == "", "no heading of a list that is not there"


def test_a_webhook_is_shown_in_few_words(call: Call, tmp_path: Path) -> None:
    trustme.CA().issue_cert("x.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    id = add(call, "--client-certificate", "ours.pem", "--rate", "5")["id"]
    rotated = on_log(call, "webhook", "rotate-secret", id)
    retired = show(call, id)["retiredAt"]
    shown = [" ".join(line.split()) for line in on_log(call, "webhook", "show", id).out.splitlines()]
    ended = on_log(call, "webhook", "rotate-secret", id, "--overlap", "0s")

    until = retired[:19] + "Z"
    assert f"the older ones sign, too, until {until}" in rotated.out
    assert "the older ones sign no more" in ended.out
    assert f"older secrets sign, too, until {until}" in shown
    assert "rate 5/s" in shown
    [certificate] = [line for line in shown if line.startswith("certificate ")]
    assert certificate.endswith("Z)")
    assert "." not in certificate.partition("until")[2]
