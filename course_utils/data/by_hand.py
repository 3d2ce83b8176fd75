"""What a download that failed says: what is missing, where it has to lie, and where to find it."""
from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

QUICK = "The quick profile needs no download: COURSE_PROFILE=quick."
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def or_by_hand(what: str, path: Path, *how: str) -> Iterator[None]:
    """Turn what goes wrong while ``what`` is downloaded into a RuntimeError: the reason, the ``path`` wanted, and ``how``, a line each.

    A full disk stays the OSError that it is.
    """
    try:
        yield
    except (OSError, RuntimeError, HTTPException) as error:
        if getattr(error, "errno", None) in _DISK_FULL:
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise RuntimeError("\n".join([f"{what} could not be downloaded ({reason[-1]}).", f"Wanted: {path}", *how])) from error
