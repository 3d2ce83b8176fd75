"""The table of all claims, drawn from the records, and the records that a conclusion can quote."""
from __future__ import annotations

from course_utils import runtime
from course_utils.claims import record
from course_utils.claims.parts import Part

SEEDS = [0, 1, 2, 3, 4]


def _cell(text: str) -> str:
    """``text`` as one cell of a Markdown table: a bar of its own, as in p(z|x), would begin the next cell."""
    return " ".join(text.split()).replace("|", "\\|")


def row(id_: str, statement: str, by_seed: dict[int, dict]) -> str:
    """One line of the table: the figures of the lowest seed, and for which seeds the claim held."""
    statement = _cell(statement)
    if not by_seed:
        return f"| {id_} | {statement} | not measured yet | | |"
    first = by_seed[min(by_seed)]
    figures = _cell("; ".join(str(Part(**part)) for part in first["parts"]))
    seeds = " ".join(f"{seed}{'✓' if r['holds'] else '✗'}" for seed, r in sorted(by_seed.items()))
    return f"| {id_} | {statement} | {figures} | {_cell(first['against'])} | {seeds} |"


def table(profile: str, seeds: list[int]) -> str:
    """Markdown: every claim of the course with what was measured, from the records of ``profile``."""
    records = {seed: record.read(profile, seed) for seed in seeds}
    lines = [
        f"Profile {profile}; figures of the lowest seed measured; seeds for which each claim held.", "",
        "| id | claim | measured (held against) | control | seeds |", "|---|---|---|---|---|",
    ]
    for id_, statement in record.statements().items():
        lines.append(row(id_, statement, {s: r[id_] for s, r in records.items() if id_ in r}))
    return "\n".join(lines) + "\n"


def overview() -> str:
    """``table`` for the profile of this run, over the five seeds of the course."""
    return table(runtime.profile(), SEEDS)


def recorded() -> dict[str, dict]:
    """Records by id: of this profile and seed; where there is none of the quick profile; and last of its seed 0."""
    found: dict[str, dict] = {}
    for profile, seed in (("quick", 0), ("quick", runtime.base_seed()), (runtime.profile(), runtime.base_seed())):
        found |= record.read(profile, seed)
    return {id_: found[id_] for id_ in record.statements() if id_ in found}
