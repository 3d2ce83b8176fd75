"""Printing where the output may lack a sign: a Windows console or pipe writes cp1252, which has no ✓."""
from __future__ import annotations

import sys
import unicodedata

SIGNS = {"✓": "+", "✗": "-"}


def say(text: str, end: str = "\n") -> None:
    """Print ``text``; what the encoding of the output lacks becomes a sign that it has, or the name of a Greek letter."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    lacking = {sign for sign in set(text) if not sign.encode(encoding, errors="ignore")}
    print(text.translate({ord(sign): _instead(sign) for sign in lacking}), end=end)


def _instead(sign: str) -> str:
    if sign in SIGNS:
        return SIGNS[sign]
    name = unicodedata.name(sign, "")
    return name.rpartition(" ")[2].lower() if name.startswith("GREEK") else "?"
