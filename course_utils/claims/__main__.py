"""``python -m course_utils.claims [--profile quick] [--seeds 0 1 2 3 4] [--keep]``: the table of all claims."""
from __future__ import annotations

import argparse

from course_utils import runtime
from course_utils.claims import record
from course_utils.claims.parts import Part


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the table of all claims from the records of runs.")
    parser.add_argument("--profile", default=runtime.profile(), choices=runtime.PROFILES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--keep", action="store_true", help="also keep this machine's records in the course")
    chosen = parser.parse_args()
    if chosen.keep:
        for seed in chosen.seeds:
            if record.folder(chosen.profile, seed).is_dir():
                print("kept", record.keep(chosen.profile, seed))
    text = table(chosen.profile, chosen.seeds)
    place = runtime.build_dir() / f"claims-{chosen.profile}.md"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    print(text, end="")
    print(f"written to {place}")


if __name__ == "__main__":
    main()
