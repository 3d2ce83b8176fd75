"""Downloads of one file: checked, and resumed where they broke off."""
from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from course_utils.data import cache
from course_utils.data.by_hand import QUICK, or_by_hand

_PIECE, _PATIENCE = 1 << 16, 30  # bytes at a time; seconds without any


class Source(NamedTuple):
    """Where a file is, and the digest it must have: the name of an algorithm of hashlib and its hex digits."""

    url: str
    algorithm: str
    digest: str


def fetch(source: Source, path: Path, otherwise: str = "") -> Path:
    """``path``, with the file of ``source``: as it lies there if it has the right digest, else downloaded.

    A download that breaks off leaves ``<path>.part``, and the next call goes on from there. A file with another digest is not used; it
    gets another name when the download takes its place, and a warning says so. Raises RuntimeError when the file can't be had, saying what to put where (``otherwise`` is added to that),
    and OSError when the folder can't be written or is full.
    """
    if path.exists() and is_whole(source, path):
        return path
    aside = cache.not_used(path, f"its {source.algorithm} digest is not {source.digest}") if path.exists() else None
    part = path.with_name(path.name + ".part")
    how = ("Run the cell again to go on where it broke off.",
           f"To do without a network, put that file there by hand: {source.url}{otherwise}", QUICK)
    with cache.writing(path):
        with or_by_hand(path.name, path, *how):
            _download(source.url, part)
            if not is_whole(source, part):
                part.unlink(missing_ok=True)
                raise RuntimeError(f"what arrived does not have the {source.algorithm} digest {source.digest}")
        if aside:
            os.rename(path, aside)
        os.replace(part, path)
    return path


def is_whole(source: Source, path: Path) -> bool:
    """Whether the file at ``path`` has the digest of ``source``."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, source.algorithm).hexdigest() == source.digest


def _download(url: str, part: Path) -> None:
    """Add to ``part`` what is missing of the file at ``url``; begin anew where the server can't go on."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing is missing: the digest says whether it is right
            return
        raise
    missing = int(answer.headers.get("Content-Length") or -1)  # of a connection that closes early, reading says nothing
    with answer, open(part, "ab" if answer.status == 206 else "wb") as file:
        while piece := answer.read(_PIECE):
            missing -= file.write(piece)
    if missing > 0:
        raise OSError(f"it broke off, {missing} bytes are missing")

