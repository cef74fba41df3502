"""Folders on the disk, and what can be seen of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest


@contextmanager
def _without_root() -> Generator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def without_root() -> Callable[[], AbstractContextManager[None]]:
    """A block in which the rights of files count, also where the tests are run by root."""
    return _without_root


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everybody can reach; pytest's own are root's alone where root runs it."""
    folder = Path(tempfile.mkdtemp(prefix="stationkeeper-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)
