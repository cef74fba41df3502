"""`stationkeeper config` prints a file that means what is in force, and says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from stationkeeper.daemon.configuration.config import SECTIONS
from stationkeeper.daemon.configuration.listing import as_json, as_toml
from stationkeeper.daemon.configuration.sources import Effective, load
from stationkeeper.daemon.configuration.webhooks import WebhookSection

FILE = """
[stations]
listen = "[::1]:9000"
tls_certificate = "a.pem"
tls_key = "k.pem"
[webhooks]
retry = ["1s", "90s"]
rate = 2.5
ports = [443, 9443]
checkpoint = false
[[webhook]]
name = "mine"
url = "https://example.com/hook"
secret_file = "mine.secret"
[[webhook]]
name = "yours"
url = "https://example.com/hook"
signatures = ["v1a"]
sites = ["North*"]
mode = "latest"
format = "cloudevents"
header_files = { Authorization = "receiver.token", "X.Y" = "other" }
client_certificate = "ours.pem"
rate = 60
concurrency = 3
"""
PROXY = """
[webhooks]
proxy = "http://me:canary-5f1c@proxy.example.com:3128"
"""


def test_what_is_printed_reads_back_as_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(FILE)
    before = load(tmp_path / "a.toml", environ={"STATIONKEEPER_LIVENESS_SILENCE": "90m"})

    (tmp_path / "b.toml").write_text(as_toml(before))

    assert load(tmp_path / "b.toml").config == before.config


@pytest.mark.parametrize("section", [*SECTIONS.values(), WebhookSection])
def test_each_key_has_a_unit_and_a_reason(section: type[attrs.AttrsInstance]) -> None:
    for key in attrs.fields(section):
        assert key.metadata["unit"], key.name
        assert key.metadata["reason"], key.name


def test_programs_get_value_default_unit_source_and_reason() -> None:
    rows = json.loads(as_json(load(environ={"STATIONKEEPER_LIVENESS_PING_TIMEOUT": "30s"})))["settings"]
    (row,) = [row for row in rows if row["key"] == "ping_timeout"]

    assert (row["section"], row["value"], row["default"], row["unit"]) == ("liveness", "30s", "20s", "duration")
    assert row["source"] == "environment STATIONKEEPER_LIVENESS_PING_TIMEOUT"
    assert "EU 2025/655" in row["reason"]


@pytest.mark.parametrize("write", [as_toml, as_json])
def test_the_password_of_a_proxy_is_not_printed(write: Callable[[Effective], str], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(PROXY)
    told = write(load(tmp_path / "a.toml"))

    assert "canary" not in told
    assert "http://***@proxy.example.com:3128" in told


def test_a_proxy_without_its_password_is_no_setting_that_reads_back(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(PROXY)
    (tmp_path / "b.toml").write_text(as_toml(load(tmp_path / "a.toml")))
    (tmp_path / "c.toml").write_text(PROXY.replace("me:canary-5f1c@", ""))
    plain = load(tmp_path / "c.toml")
    (tmp_path / "d.toml").write_text(as_toml(plain))

    assert load(tmp_path / "b.toml").config.webhooks.proxy is None
    assert load(tmp_path / "d.toml").config == plain.config
