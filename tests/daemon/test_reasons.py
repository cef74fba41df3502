"""Every reason for which a station can be turned away is explained."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from stationkeeper.daemon.reasons import REASONS, meaning, remedy

HOUSE = Path(__file__).parents[2]
PLACES = [
    *(path for path in HOUSE.glob("transports/**/*.py") if "webhooks" not in path.parts),
    *HOUSE.glob("engine/watch/*.py"),
    HOUSE / "engine" / "core.py",
    HOUSE / "daemon" / "registry" / "admission.py",
]
TELLERS = {"Refused": 1, "Refusal": 1, "Busy": 0, "refused": 1, "_turned_away": 3, "_refused": 1}
"""Who is given a reason, and at which place where it is not named."""


def reasons_in(source: str) -> Iterator[str]:
    """Yield the reasons that a module gives to those who turn somebody away."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in TELLERS:
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg == "reason"] or node.args[TELLERS[name] :][
            :1
        ]
        for value in (part for one in given for part in ast.walk(one)):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def all_reasons() -> set[str]:
    """Return the reasons that the code can produce."""
    return {reason for path in PLACES for reason in reasons_in(path.read_text("utf-8"))}


def test_every_reason_that_the_code_can_produce_is_explained() -> None:
    """steve#33, Java-OCA-OCPP#240, ev-server#4229: turned away "with no reason given"."""
    found = all_reasons()

    assert {"unknown_station", "no_subprotocol", "full", "log_unavailable", "wrong_credentials"} <= found
    assert found - set(REASONS) == set()


def test_an_explanation_reads_as_the_rest_of_a_sentence_and_a_remedy_as_one() -> None:
    for name, reason in REASONS.items():
        assert reason.meaning[0].islower(), name
        assert not reason.meaning.endswith("."), name
        assert reason.remedy[0].isupper(), name
        assert reason.remedy.endswith("."), name


def test_what_helps_after_a_failed_tls_handshake_fits_plain_http_too() -> None:
    assert "plain HTTP" in remedy("tls_failed")
    assert "wss://" in remedy("tls_failed")


def test_a_reason_of_a_newer_release_is_told_in_its_own_words() -> None:
    assert meaning("too_blue") == "too blue"
    assert remedy("too_blue") == ""
