"""The unknown model: another process that says labels only, counts, refuses, and ends with the one who started it."""
from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from course_utils import oracle, victims
from course_utils.data import load

SHAPE, KEY = (1, 4, 4), "the experimenter"


def body(pictures: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, pictures)
    return file.getvalue()


def bytes_of(count: int, shape: tuple = SHAPE) -> np.ndarray:
    return np.full((count, *shape), 200, dtype=np.uint8)


@pytest.fixture()
def server():
    seen = []

    def predict(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return torch.arange(len(x)) % 3

    made = oracle.Server(predict, SHAPE, limit=10, key=KEY)
    made.seen = seen
    yield made
    made.server_close()


def test_an_answer_is_labels_and_what_was_spent(server):
    assert server.answer(body(bytes_of(4)), "a") == (200, {"labels": [0, 1, 2, 0], "queries": 4})
    torch.testing.assert_close(server.seen[0], torch.full((4, *SHAPE), 200 / 255))


def test_the_limit_holds_for_each_account_and_a_refusal_costs_nothing(server):
    assert server.answer(body(bytes_of(7)), "a")[0] == 200
    status, said = server.answer(body(bytes_of(4)), "a")
    assert status == 429 and "3 of 10 queries left" in said["error"] and "labels" not in said
    assert server.answer(body(bytes_of(3)), "a")[1]["queries"] == 10
    assert server.answer(body(bytes_of(1)), "a")[0] == 429
    assert server.answer(body(bytes_of(10)), "b")[1]["queries"] == 10


def test_the_experimenter_may_look_without_limit(server):
    for _ in range(3):
        assert server.answer(body(bytes_of(9)), KEY)[0] == 200
    assert server.answer(body(bytes_of(10)), "a")[0] == 200


@pytest.mark.parametrize("content", [
    b"", b"nonsense", body(bytes_of(2))[:50], body(bytes_of(2).astype(np.float32)), body(bytes_of(2, (1, 5, 4))), body(bytes_of(0)), body(bytes_of(1)[0]),
    body(np.array([{"a": 1}], dtype=object)),
])
def test_a_bad_body_is_refused_in_words_and_costs_nothing(server, content):
    status, said = server.answer(content, "a")
    assert status == 400 and "expected" in said["error"] and not server.spent and not server.seen


@pytest.mark.parametrize("shape", [(2**40, *SHAPE), (3, *SHAPE), (1, *SHAPE), (-1, *SHAPE), (2**31, 2**31, 4, 4)])
def test_a_header_that_says_another_size_than_was_sent_is_refused(server, shape):
    lie = io.BytesIO()
    np.lib.format.write_array_header_1_0(lie, {"descr": "|u1", "fortran_order": False, "shape": shape})
    status, said = server.answer(lie.getvalue() + bytes(2 * 16), "a")
    assert status == 400 and "expected" in said["error"] and not server.spent and not server.seen


@pytest.mark.parametrize("header", [b"(" * 9000, b"{'descr': '|u1'}", b"{" + b"1:" * 4000, b"\xff" * 64])
def test_a_header_that_nobody_can_read_is_refused(server, header):
    status, said = server.answer(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header, "a")
    assert status == 400 and "expected one numpy array" in said["error"]


def test_columns_first_are_the_same_pictures(server):
    pictures = np.arange(2 * 16, dtype=np.uint8).reshape(2, *SHAPE)
    assert server.answer(body(np.asfortranarray(pictures)), "a")[0] == 200
    assert np.array_equal((server.seen[0] * 255).round().byte().numpy(), pictures)


def test_a_request_with_a_lying_header_is_answered(running):
    lie = io.BytesIO()
    np.lib.format.write_array_header_1_0(lie, {"descr": "|u1", "fortran_order": False, "shape": (2**44, 1, 28, 28)})
    status, said = request(running, "POST", "/label", lie.getvalue(), {"Account": "liar"})
    assert status == 400 and "got 0 bytes" in said["error"]


# ---- the process -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("COURSE_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    with oracle.start("neighbours", data="digits", limit=100) as victim:
        yield victim
    patch.undo()


@pytest.fixture(scope="module")
def pictures():
    return load("digits", split="test").take(60).images


def test_the_process_answers_as_its_recipe_does(running, pictures):
    predict, shape = victims.train("neighbours", "digits")
    assert shape == (1, 28, 28)
    assert torch.equal(running.measure(pictures), predict((pictures * 255).round() / 255))
    assert running._process.pid != os.getpid()


def test_queries_are_counted_and_limited_over_the_socket(running, pictures):
    ask = running.account("someone")
    assert ask(pictures).dtype == torch.int64 and ask.queries == 60
    with pytest.raises(oracle.QueriesSpent, match="60 pictures asked about, 40 of 100 queries left"):
        ask(pictures)
    ask(pictures[:40])
    assert ask.queries == 100
    with pytest.raises(oracle.QueriesSpent):
        running.account("someone")(pictures[:1])  # a new object is no new account


def request(running, method: str, path: str, content: bytes, headers: dict) -> tuple[int, dict]:
    line = http.client.HTTPConnection(oracle.HOST, running.port, timeout=30)
    line.request(method, path, content, headers)
    reply = line.getresponse()
    return reply.status, json.loads(reply.read())


def test_nothing_but_labels_comes_out(running):
    status, said = request(running, "POST", "/label", body(bytes_of(3, (1, 28, 28))), {"Account": "raw"})
    assert status == 200 and said.keys() == {"labels", "queries"} and all(isinstance(label, int) for label in said["labels"])


@pytest.mark.parametrize("method, path, content, headers, status", [
    ("GET", "/", b"", {}, 404), ("POST", "/weights", b"x", {"Account": "a"}, 404), ("POST", "/label", b"x", {}, 401), ("POST", "/label", b"", {"Account": "a"}, 413),
    ("POST", "/label", b"x", {"Account": "a", "Content-Length": "9" * 12}, 413), ("POST", "/label", b"x", {"Account": "a"}, 400),
])
def test_bad_requests_get_their_status_and_a_reason(running, method, path, content, headers, status):
    found, said = request(running, method, path, content, headers)
    assert found == status and said["error"]


def test_it_listens_on_this_machine_only(server):
    assert oracle.HOST == "127.0.0.1" and server.server_address[0] == "127.0.0.1"


def test_bad_pictures_are_refused_by_name(running):
    with pytest.raises(ValueError, match="^images: expected values in "):
        running.account("a")(torch.full((1, 1, 28, 28), 2.0))
    with pytest.raises(ValueError, match=r"uint8 \(N, 1, 28, 28\)"):
        running.account("a")(torch.zeros(1, 3, 28, 28))
    for name in ("", "  ", "a\nb", 3):
        with pytest.raises(ValueError, match="^name: expected "):
            running.account(name)


def test_after_close_nobody_answers(monkeypatch, tmp_path, pictures):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    victim = oracle.start("neighbours", data="digits")
    victim.close()
    victim.close()
    assert victim._process.poll() is not None
    with pytest.raises(ConnectionError, match=str(victim.port)):
        victim.measure(pictures)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_it_dies_with_the_process_that_started_it(tmp_path):
    script = "from course_utils import oracle; import time\nv = oracle.start('neighbours', data='digits')\nprint(v._process.pid, flush=True)\ntime.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "COURSE_DATA_DIR": str(tmp_path)})
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 10
    while alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(child)


def test_a_process_that_takes_too_long_is_ended_and_its_words_are_told():
    with pytest.raises(RuntimeError, match="the oracle ended before it answered. Its last words"):
        oracle.start("neighbours", data="digits", patience=0.01)


@pytest.mark.parametrize("victim, data, limit, argument", [("oracle", "digits", 10, "victim"), ("network", "numbers", 10, "data"), ("network", "digits", 0, "limit")])
def test_bad_orders_are_refused_before_a_process_starts(victim, data, limit, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected .+, got "):
        oracle.start(victim, data=data, limit=limit)


def test_the_owner_and_the_world_share_no_picture():
    train = load("digits")
    owner, outside = (victims.part_of(train, owner=flag) for flag in (True, False))
    assert len(owner) + len(outside) == len(train) and abs(len(owner) / len(outside) - 7) < 0.1
    together = torch.cat([outside.images[0:1], owner.images[0:7], outside.images[1:2], owner.images[7:14]])
    assert torch.equal(together, train.images[:16])
