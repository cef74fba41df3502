"""What was installed is whole: run against the checkout by `make test`, against a built wheel by `make wheel`."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from pkgutil import walk_packages

import pytest

ROOMS = ("engine", "projections", "transports", "daemon")


def modules() -> list[str]:
    names = []
    for room in ROOMS:
        package = import_module(f"stationkeeper.{room}")
        names += [found.name for found in walk_packages(package.__path__, f"stationkeeper.{room}.")]
    return names


@pytest.mark.parametrize("name", modules())
def test_every_module_is_importable(name: str) -> None:
    assert import_module(name).__name__ == name


@pytest.mark.parametrize(
    "command", [[str(Path(sys.executable).parent / "stationkeeper")], [sys.executable, "-m", "stationkeeper"]]
)
def test_the_command_answers(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert version("stationkeeper") in done.stdout


def test_pages_and_marker_came_along() -> None:
    assert files("stationkeeper").joinpath("py.typed").is_file()
    pages = files("stationkeeper.daemon.dashboard").joinpath("templates")
    assert any(page.name.endswith(".html") for page in pages.iterdir())
