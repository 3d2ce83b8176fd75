"""`tools/gpu.py`, rehearsed on the CPU: rows in processes of their own, what fails stays with its row, the figures are kept."""
from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import timing
from tools import gpu

ROOT = Path(__file__).resolve().parents[1]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_rehearsal_of_two_rows(tmp_path, capsys):
    file = tmp_path / "gpu.json"
    status = gpu.main(["--device", "cpu", "--out", str(file), "--data", str(tmp_path), "--only", "machine", "bench: VAT step"])
    result, said = json.loads(file.read_text(encoding="utf-8")), capsys.readouterr().out
    assert status == 0, said
    assert result["device"] == "cpu" and list(result["rows"]) == ["machine", "bench: VAT step"]
    assert {"torch", "python", "cores"} <= result["rows"]["machine"]["figures"].keys()
    figures = result["rows"]["bench: VAT step"]["figures"]
    assert figures["times as fast"] == pytest.approx(figures["three passes, ms"] / figures["course, ms"], rel=0.5) and figures["course, ms"] > 0
    assert [line.split(" ok ")[0].strip() for line in said.splitlines()[:2]] == ["machine", "bench: VAT step"]
    assert list(tmp_path.glob("*.part")) == []


def test_a_row_that_fails_or_hangs_says_so_and_is_over():
    assert gpu.outcome(python("print('before'); print('{\"a\": 1}')"), {}, 60)["figures"] == {"a": 1}
    assert "no such device" in gpu.outcome(python("raise SystemExit('no such device')"), {}, 60)["error"]
    assert gpu.outcome(python("print('nothing')"), {}, 60)["error"].startswith("no figures: nothing")
    hung = gpu.outcome(python("import time; time.sleep(30)"), {}, 1)
    assert hung["error"] == "took more than 1 s" and hung["seconds"] < 25


def test_what_fails_stops_no_other_row(tmp_path, monkeypatch, capsys):
    answers = iter([{"error": "Traceback\nRuntimeError: CUDA error", "seconds": 1.0}, {"figures": {"passed": 3, "failed": {"test_x": "broken"}}, "seconds": 2.0},
                    {"figures": {"cores": 2}, "seconds": 3.0}])
    monkeypatch.setattr(gpu, "outcome", lambda *_: next(answers))
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path / "x.json"), "--only", "bench: FGSM", "tests: waits", "machine"]) == 1
    said = capsys.readouterr().out
    assert "RuntimeError: CUDA error" in said and "test_x: broken" in said and "cores 2" in said
    assert len(json.loads((tmp_path / "x.json").read_text())["rows"]) == 3


def test_no_row_begins_when_the_time_is_over(tmp_path, capsys):
    assert gpu.main(["--device", "cpu", "--minutes", "0", "--out", str(tmp_path / "x.json"), "--only", "machine"]) == 1
    assert "no time was left" in capsys.readouterr().out


def test_a_notebook_runs_on_after_a_cell_that_fails(tmp_path, monkeypatch):
    cells = ["%pip install course", "import inspect\n\ndef f():\n    return 1", "raise ValueError('a claim that fails')", "assert 'return 1' in inspect.getsource(f)"]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_x.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": [cell]} for cell in cells]}))
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    assert gpu.notebook("01", "cpu") == {"passed": 2, "failed": {"cell 3": "ValueError: a claim that fails"}}


def test_failed_tests_are_named_with_their_message(tmp_path):
    (tmp_path / "test_y.py").write_text("def test_good(): pass\n\ndef test_bad():\n    raise ValueError('on a GPU only')\n")
    assert gpu.tests([str(tmp_path / "test_y.py")], "cpu") == {"passed": 1, "skipped": 0, "failed": {"test_bad": "ValueError: on a GPU only"}}


def test_packages_that_are_missing_are_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    assert gpu.bring(tmp_path, None) == dict.fromkeys(gpu.STAND_INS, "done without")
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import IPython, tqdm, platformdirs; assert IPython.__file__.startswith(sys.argv[1]); "
            "from course_utils import runtime, explore; from course_utils.training import loop; from torch import nn; "
            "net = nn.Linear(1, 1); print(explore.is_live(), [step for step in loop(3, 'x', keep=dict(net=net))], runtime.data_dir())")
    done = subprocess.run([*python(code), str(tmp_path)], cwd=ROOT, env={"PYTHONPATH": str(ROOT), "COURSE_DATA_DIR": str(tmp_path)}, capture_output=True, text=True)
    assert done.stdout.startswith("False [0, 1, 2]"), done.stderr


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--only", "bench: nothing"])
    assert "--only: expected some of machine," in capsys.readouterr().err


def test_the_clock_stops_when_the_device_is_done():
    waiting = 0.0

    def launch() -> None:
        nonlocal waiting
        waiting += 0.02

    def finish() -> None:
        nonlocal waiting
        time.sleep(waiting)
        waiting = 0.0

    seconds = timing.in_turns({"course": launch}, 2, finish)
    assert min(seconds["course"]) >= 0.02
