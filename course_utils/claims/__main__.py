"""``python -m course_utils.claims [--profile quick] [--seeds 0 1 2 3 4] [--keep]``: the table of all claims."""
from __future__ import annotations

import argparse
import sys

from course_utils import runtime
from course_utils.claims import record
from course_utils.claims.say import say
from course_utils.claims.table import SEEDS, row, table

__all__ = ["main", "row", "table"]


def kept(profile: str, seed: int) -> bool:
    """Put this machine's records of ``seed``, if it has any, into the course; say where, or why not. False if it can't be done."""
    if not record.folder(profile, seed).is_dir():
        return True
    try:
        say(f"kept {record.keep(profile, seed)}")
    except OSError as error:
        say(f"seed {seed} not kept in {record.KEPT} ({error.strerror}): the course's own folder can't be written here")
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the table of all claims from the records of runs.")
    parser.add_argument("--profile", default=runtime.profile(), choices=runtime.PROFILES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--keep", action="store_true", help="also keep this machine's records in the course")
    chosen = parser.parse_args()
    lost = [seed for seed in chosen.seeds if chosen.keep and not kept(chosen.profile, seed)]
    text = table(chosen.profile, chosen.seeds)
    say(text, end="")
    place = runtime.build_dir() / f"claims-{chosen.profile}.md"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        say(f"written to {place}")
    except OSError as error:
        say(f"not written to {place} ({error.strerror}): set COURSE_BUILD_DIR to a folder that can be written")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
