"""Claims: limits from both sides, what is refused, the printed line, the record, the table."""
from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from course_utils import claims, runtime
from course_utils.claims import __main__ as command
from course_utils.claims import at_least, at_most, check, is_true, record

ROOT = Path(__file__).resolve().parents[1]
PER_NOTEBOOK = (11, 7, 5, 7, 14, 14, 9, 20, 8)
IDS = [f"{chapter}.{i}" for chapter, count in enumerate(PER_NOTEBOOK, 1) for i in range(1, count + 1)]
NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def build(tmp_path, monkeypatch) -> Path:
    """Quick profile, seed 0, and folders of this test alone for runs and for what the course keeps."""
    for name in ("COURSE_PROFILE", "COURSE_SEED", "COURSE_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COURSE_BUILD_DIR", str(tmp_path / "build"))
    monkeypatch.setattr(record, "KEPT", tmp_path / "kept")
    return tmp_path / "build"


def strict(text: str) -> dict:
    """``text`` as any JSON reader has it: NaN and infinity are no JSON."""
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")
    return json.loads(text, parse_constant=refuse)


# --- parts -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("part, measured, limit, holds", [
    (at_most, 0.19, 0.2, True), (at_most, 0.2, 0.2, True), (at_most, 0.21, 0.2, False),
    (at_least, 0.21, 0.2, True), (at_least, 0.2, 0.2, True), (at_least, 0.19, 0.2, False),
    (at_most, -3, -2, True), (at_most, -1, -2, False), (at_least, -1, -2, True), (at_least, -3, -2, False),
    (at_most, 5, 5, True), (at_least, 5, 5, True),
])
def test_a_figure_is_held_against_its_limit(part, measured, limit, holds):
    made = part("figure", measured, limit)
    assert made.holds is holds and made.measured == measured and made.name == "figure"
    assert made.held_against == f"{part.__name__.replace('_', ' ')} {limit}"


@pytest.mark.parametrize("part", [at_most, at_least])
@pytest.mark.parametrize("measured", [NAN, INF, -INF, torch.tensor(NAN), np.float32(INF)])
def test_nan_and_infinity_never_hold(part, measured):
    assert part("figure", measured, 0.5).holds is False


@pytest.mark.parametrize("part", [at_most, at_least])
@pytest.mark.parametrize("measured", [
    None, "0.5", b"0.5", True, np.True_, torch.tensor(True), np.array("0.5"), torch.tensor([0.5, 0.6]), np.array([0.5, 0.6]),
    torch.tensor([]), [0.5], 1j, torch.tensor(1j),
], ids=repr)
def test_what_is_not_one_number_is_refused_by_name(part, measured):
    with pytest.raises(ValueError, match=r"^share of D: expected one number, got "):
        part("share of D", measured, 0.5)


@pytest.mark.parametrize("part", [at_most, at_least])
@pytest.mark.parametrize("limit", [NAN, INF, -INF, None, "1", True, torch.tensor([1.0, 2.0])], ids=repr)
def test_a_limit_that_is_no_finite_number_is_refused(part, limit):
    with pytest.raises(ValueError, match=r"^limit of share: expected (one|a finite) number, got "):
        part("share", 0.5, limit)


@pytest.mark.parametrize("kind", [
    float, np.float64, np.float32, torch.tensor, lambda v: torch.tensor([[v]]), lambda v: torch.tensor(v, requires_grad=True), lambda v: np.array([v]),
])
def test_numbers_tensors_and_arrays_of_one_are_figures_and_limits(kind):
    for made, holds in ((at_most("figure", kind(0.25), kind(0.5)), True), (at_least("figure", kind(0.25), kind(0.5)), False)):
        assert made.measured == 0.25 and made.holds is holds
        assert type(made.measured) is float and type(made.holds) is bool, "the record has to hold them"


def test_float32_at_the_limit_holds():
    share = torch.cat([torch.ones(95), torch.zeros(5)]).mean()
    assert share.item() < 0.95, "float32 has no 0.95"
    assert at_least("share", share, 0.95).holds and at_most("share", share, 0.95).holds
    assert at_least("share", share, 0.95).measured == 0.95
    assert not at_least("share", torch.tensor(0.9499), 0.95).holds


def test_is_true_takes_a_bool_and_nothing_else():
    assert is_true("same", True).holds is True and is_true("same", False).holds is False
    for other in (1, 0, None, "yes", NAN, torch.tensor(True), [True]):
        with pytest.raises(ValueError, match="^same: expected True or False, got "):
            is_true("same", other)


@pytest.mark.parametrize("number, text", [
    (0, "0"), (5, "5"), (12345.0, "12345"), (-2, "-2"), (0.19876, "0.199"), (123.4, "123"), (0.000012345, "1.23e-05"), (2e7, "2e+07"), (NAN, "nan"), (INF, "inf"),
])
def test_figures_are_shown_with_three_digits_and_whole_numbers_in_full(number, text):
    assert at_most("figure", number, 1).__str__() == f"figure {text} (at most 1)"


# --- check -------------------------------------------------------------------------------------------------------

def test_the_line_names_id_statement_measured_limit_and_control(capsys):
    check("1.6", at_least("smallest cosine", 0.99987, 0.999), at_most("error", 3, 5), is_true("repeats", True), against="autograd")
    assert capsys.readouterr().out == (
        "✓ 1.6 Both generator objectives pull every sample the same way: "
        "smallest cosine 1 (at least 0.999); error 3 (at most 5); repeats yes (must hold). Against: autograd.\n")


@pytest.mark.parametrize("wrong", [at_most("far", 0.3, 0.2), at_least("modes", 6, 7), is_true("same", False), at_most("far", NAN, 0.2)], ids=str)
@pytest.mark.parametrize("first", [True, False])
def test_a_planted_wrong_value_fails_is_printed_and_recorded(wrong, first, capsys, build):
    right = at_most("near", 0.1, 0.2)
    with pytest.raises(claims.ClaimFails, match=r"^✗ 1\.1 ") as failure:
        check("1.1", *((wrong, right) if first else (right, wrong)), against="the untrained generator")
    printed = capsys.readouterr().out
    assert printed == f"{failure.value}\n" and str(wrong) in printed and "✓" not in printed
    written = strict((build / "claims/quick/seed-0/1.1.json").read_text(encoding="utf-8"))
    assert written["holds"] is False and sorted(part["holds"] for part in written["parts"]) == [False, True]


def test_in_the_full_profile_a_failing_claim_is_printed_and_recorded_and_the_notebook_goes_on(monkeypatch, capsys, build):
    monkeypatch.setenv("COURSE_PROFILE", "full")
    check("1.1", at_most("far", 0.3, 0.2), against="the untrained generator")
    assert capsys.readouterr().out.startswith("✗ 1.1 ")
    assert strict((build / "claims/full/seed-0/1.1.json").read_text(encoding="utf-8"))["holds"] is False


def test_a_failing_claim_is_an_assertion_that_nbval_reports():
    assert issubclass(claims.ClaimFails, AssertionError)


def test_an_unknown_id_lists_the_ids_there_are(build):
    with pytest.raises(ValueError) as refusal:
        check("1.12", is_true("x", True), against="y")
    assert str(refusal.value) == f"id_: expected one of the course's claims, {', '.join(IDS)}, got '1.12'"
    assert not build.exists()


@pytest.mark.parametrize("parts", [(), (True,), (at_most("x", 0, 1), 0.3), ([at_most("x", 0, 1)],)], ids=repr)
def test_no_parts_or_parts_made_otherwise_are_refused(parts, build):
    with pytest.raises(ValueError, match=r"^parts: expected at_most\(\.\.\.\), at_least\(\.\.\.\) or is_true\(\.\.\.\), got "):
        check("1.1", *parts, against="y")
    assert not build.exists()


@pytest.mark.parametrize("against", ["", "  ", None, 0.5])
def test_a_claim_without_control_is_refused(against, build):
    with pytest.raises(ValueError, match="^against: expected the control in words, got "):
        check("1.1", is_true("x", True), against=against)
    assert not build.exists()


# --- statements --------------------------------------------------------------------------------------------------

def test_the_statements_are_the_95_claims_in_order():
    assert len(IDS) == 95 and list(record.statements()) == IDS
    assert all(text.strip() == text and len(text) > 10 for text in record.statements().values())
    assert len(set(record.statements().values())) == 95


# --- the record --------------------------------------------------------------------------------------------------

def test_the_record_says_what_was_measured_where(build, monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    check("1.3", at_most("gap", torch.tensor(0.25), 0.5), is_true("same", True), against="the closed form")
    written = strict((build / "claims" / "quick" / "seed-0" / "1.3.json").read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", written.pop("when"))
    assert written == {
        "id": "1.3", "statement": record.statements()["1.3"], "holds": True, "against": "the closed form",
        "parts": [
            {"name": "gap", "measured": 0.25, "held_against": "at most 0.5", "holds": True},
            {"name": "same", "measured": True, "held_against": "must hold", "holds": True},
        ],
        "profile": "quick", "seed": 0, "device": "cpu", "torch": torch.__version__, "python": ".".join(map(str, sys.version_info[:3])),
    }


def test_there_is_one_record_per_profile_and_seed(build, monkeypatch):
    for profile, seed in (("quick", 0), ("quick", 3), ("full", 3)):
        monkeypatch.setenv("COURSE_PROFILE", profile)
        monkeypatch.setenv("COURSE_SEED", str(seed))
        check("2.1", at_most("figure", seed, 5), against="y")
    files = sorted(str(path.relative_to(build)) for path in build.rglob("*") if path.is_file())
    assert files == ["claims/full/seed-3/2.1.json", "claims/quick/seed-0/2.1.json", "claims/quick/seed-3/2.1.json"]
    written = record.read("full", 3)["2.1"]
    assert (written["profile"], written["seed"], written["parts"][0]["measured"]) == ("full", 3, 3)
    assert record.read("full", 0) == {}


def test_a_later_run_replaces_the_record(build):
    check("1.1", at_most("figure", 1, 5), against="y")
    check("1.1", at_most("figure", 2, 5), against="y")
    assert record.read("quick", 0)["1.1"]["parts"][0]["measured"] == 2
    assert [path.name for path in (build / "claims/quick/seed-0").iterdir()] == ["1.1.json"]


@pytest.mark.parametrize("measured", [NAN, INF, -INF])
def test_what_is_no_number_is_kept_as_text(measured, build):
    with pytest.raises(claims.ClaimFails):
        check("1.1", at_most("figure", measured, 5), against="y")
    assert strict((build / "claims/quick/seed-0/1.1.json").read_text())["parts"][0]["measured"] == str(measured)
    assert f"figure {measured} (at most 5)" in command.table("quick", [0])


def interrupted(write, place: Path, monkeypatch) -> None:
    """Run ``write``, stopped in the middle of the file's text; what stood in ``place`` must still stand there alone."""
    before, names = place.read_bytes(), sorted(place.parent.iterdir())
    real = Path.write_text

    def half(self: Path, text: str, **options: str) -> None:
        real(self, text[: len(text) // 2], **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half)
        with pytest.raises(KeyboardInterrupt):
            write()
    assert place.read_bytes() == before and sorted(place.parent.iterdir()) == names


def test_an_interrupt_while_writing_leaves_the_old_record(build, monkeypatch):
    check("1.1", at_most("figure", 1, 5), against="y")
    interrupted(lambda: check("1.1", at_most("figure", 2, 5), against="y"), build / "claims/quick/seed-0/1.1.json", monkeypatch)
    assert record.read("quick", 0)["1.1"]["parts"][0]["measured"] == 1


def test_an_interrupt_while_keeping_leaves_what_was_kept(monkeypatch):
    check("1.1", at_most("figure", 1, 5), against="y")
    place = record.keep("quick", 0)
    check("1.1", at_most("figure", 2, 5), against="y")
    interrupted(lambda: record.keep("quick", 0), place, monkeypatch)


READ_ONLY = OSError(errno.EROFS, "Read-only file system")


@pytest.fixture
def read_only(monkeypatch) -> None:
    """Nothing can be written anywhere."""
    def refuse(*_, **__) -> None:
        raise READ_ONLY

    for function in ("mkdir", "write_text"):
        monkeypatch.setattr(Path, function, refuse)


def test_where_no_record_can_be_kept_the_claim_is_checked_and_a_warning_says_so_once(build, read_only, capsys):
    with pytest.warns(UserWarning, match="records can't be kept in .*seed-0 .Read-only file system.*COURSE_BUILD_DIR") as warned:
        check("1.1", at_most("figure", 1, 5), against="y")
        check("1.2", at_most("figure", 2, 5), against="y")
        with pytest.raises(claims.ClaimFails):
            check("1.3", at_most("figure", 6, 5), against="y")
    assert len(warned) == 1 and Path(warned[0].filename) == Path(__file__) and not build.exists()
    assert [line[:5] for line in capsys.readouterr().out.splitlines()] == ["✓ 1.1", "✓ 1.2", "✗ 1.3"]


def test_the_table_is_printed_where_it_cannot_be_written(build, read_only, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["claims", "--seeds", "0"])
    with pytest.raises(SystemExit) as end:
        command.main()
    table, _, last = capsys.readouterr().out.rpartition("\nnot written to ")
    assert end.value.code == 0 and list(rows(table)) == IDS
    assert last == f"{build / 'claims-quick.md'} (Read-only file system): set COURSE_BUILD_DIR to a folder that can be written\n"


def test_records_that_cannot_be_kept_are_said_and_told_in_the_exit_status(build, monkeypatch, capsys):
    check("1.1", at_most("figure", 1, 5), against="y")
    monkeypatch.setattr(sys, "argv", ["claims", "--keep", "--seeds", "0"])
    real = Path.mkdir

    def refuse(self: Path, **options: bool) -> None:
        if record.KEPT in self.parents:
            raise READ_ONLY
        real(self, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(SystemExit) as end:
        command.main()
    said = capsys.readouterr().out
    assert end.value.code == 1 and f"seed 0 not kept in {record.KEPT} (Read-only file system)" in said
    assert said.endswith(f"written to {build / 'claims-quick.md'}\n")


# --- what the output can't show ------------------------------------------------------------------------------------

def written(encoding: str, print_it) -> str:
    """What ``print_it`` writes to an output of ``encoding``."""
    raw = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(raw, encoding=encoding, newline="\n")) as stream:
        print_it()
        stream.flush()
    return raw.getvalue().decode(encoding)


def test_a_line_is_readable_in_what_windows_writes():
    def print_it() -> None:
        check("1.1", at_most("gradient at ε = 8/255 – ∇", 1, 5), against="y")
        with pytest.raises(claims.ClaimFails, match="^✗ 1.2"):
            check("1.2", at_most("figure", 6, 5), against="y")

    assert written("utf-8", print_it).startswith("✓ 1.1 ") and "ε = 8/255 – ∇ 1" in written("utf-8", print_it)
    first, second = written("cp1252", print_it).splitlines()
    assert first.startswith("+ 1.1 Noise z") and "gradient at epsilon = 8/255 – ? 1 (at most 5)" in first
    assert second.startswith("- 1.2 ")
    assert written("ascii", print_it).splitlines()[1].startswith("- 1.2 ")
    with contextlib.redirect_stdout(io.StringIO()) as kept:  # has no encoding at all
        print_it()
    assert kept.getvalue().startswith("✓ 1.1")


def test_verdicts_are_readable_in_what_windows_writes():
    quoted = claims.Quoted("error at ε", 0.9, "digits", 0.05, 0)
    assert "error at epsilon" in written("cp1252", lambda: claims.print_verdicts([(quoted, 0.9)], "digits"))


def test_only_check_writes_a_record(build):
    at_most("a", 1, 2), at_least("a", 1, 2), is_true("a", True)
    record.statements(), record.read("quick", 0), command.table("quick", [0, 1])
    assert not build.exists()
    sources = [path for folder in ("course_utils", "notebooks", "tools", "benchmarks") for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".ipynb")]
    writers = {path.name for path in sources if re.search(r"\brecord\.write\(|import (.*, )?write\b", path.read_text(encoding="utf-8"))}
    assert writers == {"check.py"}


def test_own_runs_replace_the_kept_ones_and_the_others_stay():
    for id_, figure in (("1.2", 1), ("1.1", 1)):
        check(id_, at_most("figure", figure, 5), against="y")
    place = record.keep("quick", 0)
    assert place == record.KEPT / "quick" / "seed-0.json" and list(strict(place.read_text(encoding="utf-8"))) == ["1.1", "1.2"]
    (record.folder("quick", 0) / "1.1.json").unlink()
    check("1.2", at_most("figure", 2, 5), against="y")
    check("9.8", at_most("figure", 3, 5), against="y")
    measured = {id_: found["parts"][0]["measured"] for id_, found in record.read("quick", 0).items()}
    assert list(measured.items()) == [("1.1", 1), ("1.2", 2), ("9.8", 3)]
    assert strict(place.read_text(encoding="utf-8"))["1.2"]["parts"][0]["measured"] == 1, "reading must not keep"
    record.keep("quick", 0)
    assert strict(place.read_text(encoding="utf-8")) == record.read("quick", 0)
    assert record.read("quick", 1) == {} and record.read("full", 0) == {}


def test_a_record_of_an_id_that_the_course_no_longer_has_is_left_out():
    record.folder("quick", 0).mkdir(parents=True)
    (record.folder("quick", 0) / "1.99.json").write_text('{"id": "1.99"}', encoding="utf-8")
    assert record.read("quick", 0) == {}


# --- the table ---------------------------------------------------------------------------------------------------

def rows(text: str) -> dict[str, list[str]]:
    """The cells of each row of a Markdown table by the first one, without its head."""
    lines = [line for line in text.splitlines() if re.match(r"\| \d", line)]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_the_table_lists_every_claim_in_order_measured_or_not(monkeypatch):
    for seed, figure in (("1", 2), ("3", 9)):
        monkeypatch.setenv("COURSE_SEED", seed)
        try:
            check("1.2", at_most("figure", figure, 5), is_true("same", True), against="a fresh D")
        except claims.ClaimFails:
            assert seed == "3"
    found = rows(command.table("quick", [0, 1, 2, 3]))
    assert list(found) == IDS and all(len(row) == 4 for row in found.values())
    assert found.pop("1.2") == [record.statements()["1.2"], "figure 2 (at most 5); same yes (must hold)", "a fresh D", "1✓ 3✗"]
    assert all(row[1:] == ["not measured yet", "", ""] for row in found.values())
    assert rows(command.table("quick", [0]))["1.2"][1] == "not measured yet"
    assert rows(command.table("full", [1]))["1.2"][1] == "not measured yet"


def test_a_bar_within_a_cell_does_not_begin_the_next_one():
    check("1.11", at_least("p(x|z)", 60, 50), against="q(x|z)\nat another bandwidth")
    statement, figures, against, seeds = rows(command.table("quick", [0]))["1.11"]
    assert r"p(z\|x)" in statement and figures == r"p(x\|z) 60 (at least 50)"
    assert against == r"q(x\|z) at another bandwidth" and seeds == "0✓"


def test_the_command_writes_the_table_of_the_profile_and_seeds_asked_for(build, monkeypatch, capsys):
    check("1.1", at_most("figure", 1, 5), against="y")
    monkeypatch.setattr(sys, "argv", ["claims", "--seeds", "0"])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        command.main()
    printed = capsys.readouterr().out
    assert (build / "claims-quick.md").read_text(encoding="utf-8") == command.table("quick", [0])
    assert printed == command.table("quick", [0]) + f"written to {build / 'claims-quick.md'}\n"
    assert not record.KEPT.exists(), "kept without being asked"


def test_keep_puts_only_seeds_that_were_run_into_the_course(monkeypatch, capsys):
    check("1.1", at_most("figure", 1, 5), against="y")
    monkeypatch.setattr(sys, "argv", ["claims", "--keep"])
    with pytest.raises(SystemExit, match="0"):
        command.main()
    assert [path.name for path in (record.KEPT / "quick").iterdir()] == ["seed-0.json"]
    assert f"kept {record.KEPT / 'quick' / 'seed-0.json'}" in capsys.readouterr().out


def test_the_command_runs_by_its_name_and_writes_what_windows_can_show(build):
    check("1.1", at_most("figure", 4.5, 5), against="y")
    done = subprocess.run([sys.executable, "-m", "course_utils.claims", "--profile", "quick", "--seeds", "0"], cwd=ROOT,
                          env=os.environ | {"COURSE_BUILD_DIR": str(runtime.build_dir()), "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
                          capture_output=True, encoding="cp1252")
    assert done.returncode == 0, done.stderr
    assert list(rows(done.stdout)) == IDS and rows(done.stdout)["1.1"][1:] == ["figure 4.5 (at most 5)", "y", "0+"]
    assert done.stdout.endswith(f"written to {build / 'claims-quick.md'}\n")
