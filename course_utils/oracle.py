"""A model that nobody can look into: it lives in another process, answers over HTTP on this machine alone, and says labels only.

    victim = oracle.start("network", data="digits", limit=2000)
    ask = victim.account("attacker")
    ask(images)                      # (N, C, H, W) in [0, 1] -> labels (N,), N queries spent
    victim.close()

Pictures travel as bytes, as they do to the services that people pay for: 256 levels. The server counts each account's
pictures and refuses what goes beyond ``limit``. It ends with ``close``, with this process, and when this process dies.
"""
from __future__ import annotations

import atexit
import http.client
import io
import json
import math
import os
import secrets
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_utils.validate import expect, expect_count, expect_images

HOST = "127.0.0.1"
LARGEST_BODY = 64 * 2**20


class QueriesSpent(RuntimeError):
    """The account has no queries left."""


class Account:
    """One customer of an oracle: pictures (N, C, H, W) in [0, 1] to labels (N,) int64. ``queries`` counts what was answered."""

    def __init__(self, oracle: Oracle, key: str) -> None:
        self._oracle, self._key = oracle, key
        self.queries = 0

    def __call__(self, images: Tensor) -> Tensor:
        """One query a picture. Raises QueriesSpent when fewer are left (nothing is answered then), ValueError for bad pictures."""
        expect_images(images)
        answer = self._oracle.post(images, self._key)
        self.queries = answer["queries"]
        return torch.tensor(answer["labels"], dtype=torch.int64, device=images.device)


class Oracle:
    """A running server, as ``start`` returns it: its ``port``, its ``limit``, accounts for asking."""

    def __init__(self, process: subprocess.Popen, port: int, limit: int, key: str) -> None:
        self._process, self._key = process, key
        self.port, self.limit = port, limit
        atexit.register(self.close)

    def account(self, name: str) -> Account:
        """An account of its own, with ``limit`` queries. Raises ValueError for an empty name."""
        expect(isinstance(name, str) and name.strip() != "" and name.isprintable() and name.isascii(), "name", "a name in plain letters", repr(name))
        return Account(self, name)

    def measure(self, images: Tensor) -> Tensor:
        """Labels (N,) for the experimenter, who may ask without limit: how well an attack does is no part of the attack."""
        expect_images(images)
        parts = [self.post(part, self._key)["labels"] for part in images.split(2000)]
        return torch.tensor(sum(parts, []), dtype=torch.int64, device=images.device)

    def post(self, images: Tensor, key: str) -> dict:
        """Send pictures as bytes; the server's answer. Raises QueriesSpent, ValueError with the server's words, or ConnectionError."""
        body = io.BytesIO()
        np.save(body, (images.detach().cpu() * 255).round().to(torch.uint8).numpy())
        line = http.client.HTTPConnection(HOST, self.port, timeout=120)
        try:
            line.request("POST", "/label", body.getvalue(), {"Account": key, "Content-Type": "application/octet-stream"})
            reply = line.getresponse()
            answer, status = json.loads(reply.read()), reply.status
        except (OSError, http.client.HTTPException, ValueError) as reason:
            raise ConnectionError(f"the oracle on port {self.port} does not answer: {reason}") from reason
        finally:
            line.close()
        if status == 429:
            raise QueriesSpent(answer["error"])
        expect(status == 200, "images", "what the oracle takes", answer.get("error"))
        return answer

    def close(self) -> None:
        """End the server; a second time does nothing."""
        atexit.unregister(self.close)
        if self._process.poll() is None:
            self._process.stdin.close()  # which it takes for the end
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def start(victim: str, *, data: str, limit: int = 2000, seed: int | None = None, patience: float = 600) -> Oracle:
    """Start a process that trains ``victim`` (a name of ``victims.RECIPES``) on its part of ``data`` and then answers; wait for it.

    Nothing of the model comes back but a port. ``seed`` is COURSE_SEED when None. Raises ValueError for a bad argument,
    RuntimeError with the process's last words when it ends or takes longer than ``patience`` seconds.
    """
    from course_utils import runtime, victims

    victims.expect_known(victim, data)
    expect_count(limit, "limit")
    seed = runtime.base_seed() if seed is None else seed
    key = secrets.token_hex(16)
    root = str(Path(__file__).resolve().parents[1])
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen([sys.executable, "-m", "course_utils.oracle"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, env={**os.environ, "PYTHONPATH": search, "COURSE_SEED": str(seed)})
    process.stdin.write(json.dumps({"victim": victim, "data": data, "limit": limit, "key": key, "parent": os.getpid()}) + "\n")
    process.stdin.flush()
    timer = threading.Timer(patience, process.kill)
    timer.start()
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("listening on port "):
                return Oracle(process, int(line.split()[-1]), limit, key)
    finally:
        timer.cancel()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    raise RuntimeError(f"the oracle ended before it answered. Its last words:\n{''.join(said[-10:]).strip() or '(none)'}")


# ---------------------------------------------------------------- the other process


class Server(ThreadingHTTPServer):
    """Answers ``POST /label`` with the labels that ``predict`` gives, counting the pictures of each account."""

    daemon_threads = True

    def __init__(self, predict, shape: tuple[int, ...], limit: int, key: str) -> None:
        super().__init__((HOST, 0), Handler)
        self.predict, self.shape, self.limit, self.key = predict, shape, limit, key
        self.spent: Counter[str] = Counter()
        self.one_at_a_time = threading.Lock()

    def answer(self, body: bytes, account: str) -> tuple[int, dict]:
        """The HTTP status and what is said. Pictures that are refused cost nothing."""
        try:
            pictures = self.pictures(body)
        except ValueError as reason:
            return 400, {"error": str(reason)}
        with self.one_at_a_time:
            if account != self.key:
                left = self.limit - self.spent[account]
                if len(pictures) > left:
                    return 429, {"error": f"{len(pictures)} pictures asked about, {left} of {self.limit} queries left"}
                self.spent[account] += len(pictures)
            labels = self.predict(torch.from_numpy(pictures).float() / 255)
        return 200, {"labels": labels.tolist(), "queries": self.spent[account]}

    def pictures(self, body: bytes) -> np.ndarray:
        """The uint8 array (N, C, H, W) in the bytes of an .npy. Its header is believed only where as many bytes were sent as it says.

        Raises ValueError for anything else.
        """
        file = io.BytesIO(body)
        try:
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[np.lib.format.read_magic(file)]
            shape, by_column, dtype = header(file)
        except Exception as reason:  # whatever numpy and Python's parser make of what strangers send
            raise ValueError(f"the body: expected one numpy array (.npy), got: {reason or type(reason).__name__}") from reason
        fits = dtype == np.uint8 and len(shape) == 4 and shape[1:] == self.shape and shape[0] > 0
        expect(fits, "pictures", f"uint8 (N, {', '.join(map(str, self.shape))}), at least one", f"{dtype} {shape}")
        sent = len(body) - file.tell()
        expect(sent == math.prod(shape), "the body", f"the {math.prod(shape)} bytes of {shape}", f"{sent} bytes")
        return np.frombuffer(body, np.uint8, offset=file.tell()).reshape(shape, order="F" if by_column else "C").copy()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_POST(self) -> None:  # noqa: N802  the name that http.server looks for
        size, account = self.headers.get("Content-Length", ""), self.headers.get("Account", "").strip()
        if self.path != "/label":
            return self.say(404, {"error": "POST pictures to /label"})
        if not size.isdecimal() or not 0 < int(size) <= LARGEST_BODY:
            return self.say(413, {"error": f"Content-Length: expected 1 to {LARGEST_BODY}, got {size or 'none'}"})
        if not account:
            return self.say(401, {"error": "Account: expected a name in the header, got none"})
        self.say(*self.server.answer(self.rfile.read(int(size)), account))

    def do_GET(self) -> None:  # noqa: N802
        self.say(404, {"error": "POST pictures to /label"})

    def say(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Nothing: nobody reads this process's log."""


def _end_with_parent() -> None:
    """Wait for the end of the parent's line, then end."""
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    from course_utils import victims

    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    predict, shape = victims.train(order["victim"], order["data"])
    server = Server(predict, shape, order["limit"], order["key"])
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
