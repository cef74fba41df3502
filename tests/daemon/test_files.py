"""The limit on open files follows the number of stations, as far as the system allows."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from stationkeeper.daemon.files import allow_files


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_it_is_raised_to_what_is_needed_and_no_further_than_it_may() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    asked = allow_files(400)
    enough, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allow_files(2**31)
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert (asked, enough) == (400, 400)
    assert most == (2**31 if hard == resource.RLIM_INFINITY else hard)


def test_it_is_never_lowered() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))

    assert allow_files(200) == 300
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, hard)
