"""The record of what was measured. Only ``check`` writes one, so a record always comes from a run."""
from __future__ import annotations

import json
import math
import os
import platform
import tomllib
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import torch

from course_utils import runtime
from course_utils.claims.parts import Part

_HERE = Path(__file__).resolve().parent
KEPT = _HERE.parent / "records" / "claims"


def notebooks() -> dict[str, dict[str, str]]:
    """The course's notebooks by the names of their files, in order, each with its claims: the statements by id."""
    return tomllib.loads((_HERE / "statements.toml").read_text(encoding="utf-8"))


def statements() -> dict[str, str]:
    """Every claim's statement by id, in the order of the course."""
    return {id_: text for claims in notebooks().values() for id_, text in claims.items()}


def folder(profile: str, seed: int) -> Path:
    """Where runs of this profile and seed leave their records."""
    return runtime.build_dir() / "claims" / profile / f"seed-{seed}"


def _json_number(measured: float | bool) -> float | bool | str:
    """JSON has no NaN and no infinity: those are kept as text."""
    return measured if math.isfinite(measured) else str(measured)


def _write_whole(place: Path, content: dict) -> None:
    """Write ``content`` as JSON to ``place``, or leave what was there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def write(id_: str, parts: tuple[Part, ...], against: str) -> None:
    """Write ``<build>/claims/<profile>/seed-<n>/<id>.json``, whole or not at all."""
    record = {
        "id": id_, "statement": statements()[id_], "holds": all(part.holds for part in parts),
        "parts": [asdict(part) | {"measured": _json_number(part.measured)} for part in parts], "against": against,
        "profile": runtime.profile(), "seed": runtime.base_seed(), "device": runtime.device().type,
        "torch": torch.__version__, "python": platform.python_version(),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    _write_whole(folder(runtime.profile(), runtime.base_seed()) / f"{id_}.json", record)


def read(profile: str, seed: int) -> dict[str, dict]:
    """Records by id: those kept with the course, replaced by those of this machine's own runs."""
    kept = KEPT / profile / f"seed-{seed}.json"
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for path in folder(profile, seed).glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[record["id"]] = record
    return {id_: found[id_] for id_ in statements() if id_ in found}


def keep(profile: str, seed: int) -> Path:
    """Put the records of this machine's runs into the course, beside the ones already kept."""
    place = KEPT / profile / f"seed-{seed}.json"
    _write_whole(place, read(profile, seed))
    return place
