"""Tokens: how the file is read, who is found, and where an API without a file may listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from stationkeeper.daemon.configuration.units import parse_address
from stationkeeper.daemon.http.tokens import Tokens, check_exposure, is_loopback
from stationkeeper.engine.errors import WrongSetting

FILE = """
# for people
admin  first-canary   # the first of two
read   second-canary
admin  third-canary   operations
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    return path


def test_a_token_is_found_with_its_scope_and_a_name_that_is_no_secret(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path, FILE))

    found = [tokens.find(secret) for secret in ("first-canary", "second-canary", "third-canary")]
    assert [(token.name, token.may_change) for token in found if token] == [
        ("admin-1", True),
        ("read-1", False),
        ("operations", True),
    ]
    assert "canary" not in repr(found)


@pytest.mark.parametrize("secret", ["", "first", "FIRST-CANARY", "# for people", "admin", "\udcff"])
def test_anything_else_is_nobody(secret: str, tmp_path: Path) -> None:
    assert Tokens(written(tmp_path, FILE)).find(secret) is None


@pytest.mark.parametrize("line", ["root canary", "admin", "admin canary a b", "admin:canary"])
def test_a_line_that_cannot_be_read_is_named_without_its_token(line: str, tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="line 2") as error:
        Tokens(written(tmp_path, "read good-token\n" + line))

    assert "canary" not in str(error.value)


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_a_file_without_a_token_lets_nobody_in_and_so_is_an_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="holds no token"):
        Tokens(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="cannot be read"):
        Tokens(tmp_path / "none")


def test_reading_again_takes_new_tokens_and_keeps_the_old_ones_where_it_fails(tmp_path: Path) -> None:
    path = written(tmp_path, FILE)
    tokens = Tokens(path)

    path.write_text("read fourth-canary\n")
    tokens.reload()
    assert tokens.find("first-canary") is None

    path.write_text("nonsense")
    with pytest.raises(WrongSetting):
        tokens.reload()
    assert tokens.find("fourth-canary") is not None


def test_without_a_file_only_this_machine_is_listened_to(tmp_path: Path) -> None:
    for listen in ("127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.9.9:0"):
        check_exposure(parse_address(listen), Tokens())
    for listen in ("0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.com:1"):
        check_exposure(parse_address(listen), Tokens(written(tmp_path, FILE)))
        with pytest.raises(WrongSetting, match="token_file"):
            check_exposure(parse_address(listen), Tokens())


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com", "", "0", "notlocalhost"])
def test_a_name_that_only_looks_local_is_not(host: str) -> None:
    assert not is_loopback(host)
