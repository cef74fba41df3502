"""Open files: each station is one, and the 1024 that a process may usually have are not many."""

from __future__ import annotations

import resource


def allow_files(needed: int) -> int:
    """Have this process open as many files at once as are *needed*, as far as it may; return how many it may now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft in (resource.RLIM_INFINITY, hard) or soft >= needed:
        return soft
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
