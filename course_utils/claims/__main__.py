"""``python -m course_utils.claims [--profile quick] [--seeds 0 1 2 3 4] [--keep]``: the table of all claims."""
from __future__ import annotations

import argparse

from course_utils import runtime
from course_utils.claims import record
from course_utils.claims.table import SEEDS, row, table

__all__ = ["main", "row", "table"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the table of all claims from the records of runs.")
    parser.add_argument("--profile", default=runtime.profile(), choices=runtime.PROFILES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
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
