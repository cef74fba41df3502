"""Bodies that cannot be read: what is missing is said, and never what they hold."""

from __future__ import annotations

import pytest
from office import open_office


@pytest.mark.parametrize("said", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_json_that_is_not_sent_as_json_is_told_the_header(said: str) -> None:
    async with open_office() as office:
        answer = await office.ask(
            "POST", "/chargestations", b'{"id": "CP-7", "password": "canary"}', headers={"content-type": said}
        )

    assert answer.status == 422
    assert "send Content-Type: application/json" in answer.json["detail"]
    assert b"canary" not in answer.body


@pytest.mark.parametrize("said", ["application/json", "application/json; charset=utf-8", "application/vnd.own+json"])
async def test_json_is_read_under_all_its_names(said: str) -> None:
    async with open_office() as office:
        answer = await office.ask(
            "POST", "/chargestations", b'{"id": "CP-7", "generate": true}', headers={"content-type": said}
        )
        listed = await office.ask("POST", "/chargestations", b"[1]", headers={"content-type": said})

    assert answer.status == 201
    assert "Content-Type" not in listed.json["detail"]


@pytest.mark.parametrize("body", [b"{", b'{"id": ', b"\xff\xfe", b'{"password": "canary'])
async def test_broken_json_is_a_fault_of_the_body_not_of_a_number(body: bytes) -> None:
    async with open_office() as office:
        answer = await office.ask("POST", "/chargestations", body)

    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == ["body"]
    assert answer.json["detail"].startswith("body: it is not JSON, from character ")
    assert b"canary" not in answer.body


async def test_no_body_at_all_is_said_to_be_missing() -> None:
    async with open_office() as office:
        answer = await office.ask("POST", "/chargestations")

    assert answer.json["detail"] == "body: Field required"
