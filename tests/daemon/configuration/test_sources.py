"""The configuration: what overrules what, and that each error names the key, the value and the remedy."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.daemon.configuration.config import SECTIONS, Config
from stationkeeper.daemon.configuration.sources import Given, load
from stationkeeper.daemon.configuration.units import Address, Duration
from stationkeeper.engine.errors import WrongSetting
from stationkeeper.engine.settings import EngineSettings

TLS = 'tls_certificate = "a.pem"\ntls_key = "a.key"'
HOOK = '[[webhook]]\nname = "a"\nurl = "https://x"\nsecret_file = "f"\n'
RSA = 'tls_certificate_rsa = "r.pem"\ntls_key_rsa = "r.key"'


def written(folder: Path, text: str) -> Path:
    file = folder / "stationkeeper.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(WrongSetting) as caught:
        load(written(folder, text))
    return str(caught.value)


def test_without_any_source_all_is_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    found = load()

    assert found.config == Config()
    assert found.sources == {}


def test_the_file_in_the_working_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, '[liveness]\nping_interval = "30s"\n')

    assert load().config.liveness.ping_interval == Duration(30)


def test_the_environment_overrules_the_file_and_flags_both(tmp_path: Path) -> None:
    file = written(tmp_path, '[stations]\nlisten = "127.0.0.1:1"\npath = "/a"\n[http]\nlisten = "127.0.0.1:2"\n')
    environ = {"STATIONKEEPER_STATIONS_LISTEN": "127.0.0.1:3", "STATIONKEEPER_HTTP_LISTEN": "127.0.0.1:4"}
    flags = {("stations", "listen"): Given("127.0.0.1:5", "flag --stations")}

    found = load(file, environ=environ, flags=flags)

    assert found.config.stations.listen == Address("127.0.0.1", 5)
    assert found.config.http.listen == Address("127.0.0.1", 4)
    assert found.config.stations.path == "/a"
    assert found.sources[("stations", "listen")] == "flag --stations"
    assert found.sources[("http", "listen")] == "environment STATIONKEEPER_HTTP_LISTEN"
    assert found.sources[("stations", "path")] == f"file {file}"


def test_the_environment_says_numbers_lists_and_truth_as_toml_does() -> None:
    environ = {
        "STATIONKEEPER_WEBHOOKS_RETRY": '["5s", 60]',
        "STATIONKEEPER_WEBHOOKS_ALLOW_HTTP": "true",
        "STATIONKEEPER_STATIONS_MAX_CONNECTIONS": "7",
        "STATIONKEEPER_GATEWAY_NAME": "7",
        "STATIONKEEPER_LIVENESS_PING_INTERVAL": "1m30s",
    }

    config = load(environ=environ).config

    assert config.webhooks.retry == (Duration(5), Duration(60))
    assert config.webhooks.allow_http is True
    assert config.stations.max_connections == 7
    assert config.gateway.name == "7"
    assert config.liveness.ping_interval == Duration(90)


def test_what_kubernetes_and_our_own_tools_put_into_the_environment_is_passed_over() -> None:
    environ = {
        "STATIONKEEPER_SERVICE_HOST": "10.0.0.1",
        "STATIONKEEPER_SERVICE_PORT_HTTP": "8080",
        "STATIONKEEPER_PORT": "tcp://10.0.0.1:8080",
        "STATIONKEEPER_HTTP_PORT_8080_TCP_ADDR": "10.0.0.1",
        "STATIONKEEPER_URL": "http://127.0.0.1:8080",
        "STATIONKEEPER_TOKEN": "x",
        "PATH": "/bin",
    }

    assert load(environ=environ).sources == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[stations]\nlissten = "x"', "lissten .* did you mean listen"),
        ('[stations]\nping_timeout = "1s"', "it belongs into .liveness."),
        ("[stationz]", "did you mean stations?"),
        ('log = "x.db"', r"write \[log\]"),
        ('[stations]\nlisten = "x"', r'listen = "x" .* an address with a port'),
        ("[stations]\nmax_message = true", "max_message = true .* a whole number"),
        ("[stations]\nmax_message = 1", "at least 1024"),
        ("[stations]\nmax_connections = 1.5", "a whole number"),
        ("[liveness]\nping_interval = 1e-9", "0, or at least 1"),
        ('[liveness]\nping_timeout = "0.9s"', "at least 1"),
        ('[liveness]\nsilence = "0s"', "at least 1"),
        ('[webhooks]\nretry = ["5x"]', "a duration"),
        ('[webhooks]\nretry = "5s"', "a list"),
        ("[webhooks]\nrate = 0", "0.001 to 100000 messages a second"),
        ('[webhooks]\nrate = "fast"', "a number"),
        ("[webhooks]\nrate = true", "a number"),
        ("[webhooks]\nports = []", r"ports, e.g. \[443, 8443\]"),
        ("[webhooks]\nports = [443, 70000]", r"ports, e.g. \[443, 8443\]"),
        ('[webhooks]\nports = ["443"]', "a whole number"),
        ('[webhooks]\nproxy = "proxy.example.com"', "http://proxy.example.com:3128"),
        ("[webhooks]\nhost_concurrency = 0", "at least 1"),
        ('[webhooks]\nanswer_timeout = "0s"', "at least 0.1"),
        ('[stations]\ntrusted_proxies = ["proxy.example"]', "10.1.0.0/16"),
        ("[stations]\ntrusted_proxies = []", "at least one"),
        ('[stations]\norigins = ["https://pages.example/chargers"]', "without a path"),
        ('[stations]\nsecurity = "open"', '"basic" or "mtls" or "none"'),
        ('[stations]\npath = "ocpp"', "a path"),
        ('[stations]\npublic_url = "https://x"', "a WebSocket URL"),
        ("[stations]\npublic_url = 1", "text in quotes"),
        ('[log]\nurl = ""', "not empty"),
        ("[webhook]", r"write \[\[webhook\]\]"),
        ('[[webhook]]\nname = "a"\nurl = "https://x"', "lacks secret_file: v1 signs with a secret"),
        (HOOK + "rate = 0", r"\[\[webhook\]\] 'a' rate = 0"),
        ('[webhooks]\ntimeout = "10s"\nanswer_timeout = "12s"', "answer_timeout = 12s is a part of timeout = 10s"),
        ('[[webhook]]\nname = "a"\nurl = "https://x"\nsecret_file = "f"\nevent = []', "did you mean events?"),
        (f"{HOOK}signatures = []", "not empty"),
        (f'{HOOK}signatures = ["v2"]', '"v1" or "v1a"'),
        (f'{HOOK}signatures = ["v1a"]', "with which v1 alone signs: leave it out"),
        (f"{HOOK}concurrency = 0", "at least 1"),
        (f"{HOOK}concurrency = 1.5", "a whole number"),
        (f"{HOOK}rate = -1", "0.001 to 100000"),
        (f'{HOOK}mode = "newest"', '"every" or "latest"'),
        (f'{HOOK}header_files = ["token"]', 'a table, e.g. { Authorization = "receiver.token" }'),
        (f"{HOOK}header_files = {{ X-A = 1 }}", "a path"),
        (f'{HOOK}timeout = "5s"', "it belongs into .webhooks."),
        ('[stations]\ntls_certificate = "a.pem"', "tls_key is missing"),
        ('[stations]\ntls_key_rsa = "a.pem"', "tls_certificate_rsa is missing"),
        (f"[stations]\n{RSA}", "tls_certificate_rsa takes TLS"),
        ('[stations]\ntls_client_ca = "ca.pem"', "tls_client_ca takes TLS"),
        (f'[stations]\n{TLS}\nsecurity = "mtls"', "takes tls_client_ca"),
        (f'[stations]\n{TLS}\ntls_client_organization = "Ours"', "takes tls_client_ca"),
        ('[stations]\ntrusted_proxies = ["10.0.0.7"]', "set proxy_protocol = true"),
        ('[stations]\nlisten = "127.0.0.1:8080"', "both 127.0.0.1:8080"),
        ("[log", "is not TOML"),
    ],
)
def test_a_wrong_file_is_told_with_the_remedy(tmp_path: Path, text: str, told: str) -> None:
    message = refusal(tmp_path, text)

    assert re.search(told, message), message


@pytest.mark.parametrize("proxy", ["http://me:canary-5f1c@proxy", "me:canary-5f1c@proxy:1", "http://a@canary-5f1c@x"])
def test_a_proxy_that_is_refused_is_told_without_its_password(tmp_path: Path, proxy: str) -> None:
    message = refusal(tmp_path, f'[webhooks]\nproxy = "{proxy}"')

    assert "***@" in message
    assert "canary" not in message


def test_how_webhooks_are_sent_reaches_the_engine() -> None:
    environ = {
        "STATIONKEEPER_WEBHOOKS_RETRY_AFTER_CAP": "1h",
        "STATIONKEEPER_WEBHOOKS_WEBHOOK_CONCURRENCY": "3",
        "STATIONKEEPER_WEBHOOKS_HOST_CONCURRENCY": "5",
        "STATIONKEEPER_WEBHOOKS_RATE": "2.5",
        "STATIONKEEPER_WEBHOOKS_CHECKPOINT": "false",
    }
    settings = load(environ=environ).config.engine_settings()

    assert settings.retry.retry_after_cap == 3600
    assert (settings.webhook_concurrency, settings.host_concurrency) == (3, 5)
    assert (settings.webhook_rate, settings.witness) == (2.5, False)
    assert Config().engine_settings() == EngineSettings()


def test_what_this_release_does_not_do_yet_is_refused_not_ignored(tmp_path: Path) -> None:
    assert "does not relay" in refusal(tmp_path, '[stations]\nrelay = "ws://csms/"')


def test_a_drain_takes_less_than_the_shutdown_that_it_is_a_part_of(tmp_path: Path) -> None:
    told = refusal(tmp_path, '[gateway]\nshutdown_timeout = "1m"\ndrain = "1m"')
    config = load(written(tmp_path, '[gateway]\nshutdown_timeout = "1m"\ndrain = "59s"')).config

    assert "drain = 1m" in told
    assert "shutdown_timeout = 1m" in told
    assert (config.engine_settings().drain, config.engine_settings().shutdown_timeout) == (59, 60)


def test_a_proxy_in_front_may_check_certificates(tmp_path: Path) -> None:
    (tmp_path / "proxied.toml").write_text('[stations]\nsecurity = "mtls"\nproxy_protocol = true')

    assert load(tmp_path / "proxied.toml").config.stations.trusted_proxies == ("127.0.0.0/8", "::1")


def test_text_from_the_environment_is_text_whatever_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "mutual.toml").write_text(f'[stations]\n{TLS}\ntls_client_ca = "ca.pem"')
    environ = {"STATIONKEEPER_STATIONS_TLS_CLIENT_ORGANIZATION": "2024"}

    assert load(tmp_path / "mutual.toml", environ=environ).config.stations.tls_client_organization == "2024"


def test_two_webhooks_of_one_name_are_refused(tmp_path: Path) -> None:
    webhook = '[[webhook]]\nname = "a"\nurl = "https://x"\nsecret_file = "f"\n'

    assert "stands twice" in refusal(tmp_path, webhook * 2)


@pytest.mark.parametrize("variable", ["STATIONKEEPER_STATION_LISTEN", "STATIONKEEPER_STATIONS_LISTN"])
def test_an_unknown_variable_is_an_error(variable: str) -> None:
    with pytest.raises(WrongSetting, match=variable):
        load(environ={variable: "127.0.0.1:1"})


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="there is no such file"):
        load(tmp_path / "nowhere.toml")


def test_what_mutual_tls_takes_is_read(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        f'[stations]\n{TLS}\n{RSA}\nsecurity = "mtls"\ntls_client_ca = "ca.pem"\ntls_client_organization = "Ours"',
    )
    stations = load(file).config.stations

    assert (stations.security, stations.tls_client_organization) == ("mtls", "Ours")
    assert (stations.tls_client_ca, stations.tls_certificate_rsa) == (Path("ca.pem"), Path("r.pem"))


KEYS = [(name, key.name) for name, section in SECTIONS.items() for key in attrs.fields(section)]
values = st.one_of(st.text(), st.integers(), st.booleans(), st.floats(), st.none(), st.lists(st.text(), max_size=2))


@given(st.sampled_from(KEYS), values)
def test_whatever_is_set_is_taken_or_refused_by_name(place: tuple[str, str], value: object) -> None:
    try:
        load(flags={place: Given(value, "flag --any")})
        message = place[1]
    except WrongSetting as error:
        message = str(error)

    assert place[1] in message
