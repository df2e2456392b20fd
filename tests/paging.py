"""The real page in a process of its own, and a browser session of plain HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urlsplit

MODELS = """
from pathlib import Path

from promptology.models.access import Answer, Failure
from promptology.models.simulated.styles import SimulatedWriter
from promptology.testing.fixtures import HashingEncoder


class Encoder(HashingEncoder):
    def __call__(self, texts):
        return self.embed(texts)


class Moody(SimulatedWriter):
    def generate(self, requests, attempts=1):
        mood = Path("mood").read_text(encoding="utf-8") if Path("mood").exists() else ""
        for n, request in enumerate(requests):
            if mood == "fail":
                yield n, Failure("nobody is there", attempts=1)
            elif mood:
                yield n, Answer(mood.removeprefix("say "), 1, 1, False)
            else:
                yield from ((n, outcome) for _, outcome in super(Moody, self).generate([request]))

    def __call__(self, prompt):
        return ""


encoder, moody = Encoder(), Moody(error=0.0)
"""


class Page:
    """A page that was started by the command."""

    def __init__(self, process, url, said):
        self.process, self.url, self.said = process, url, said
        self.host = urlsplit(url).netloc

    def kill(self):
        self.process.kill()
        self.process.wait(10)


@contextlib.contextmanager
def paged(folder: Path, *options, model="simulated:styles?error=0", env=None):
    (folder / "own_models.py").write_text(MODELS, encoding="utf-8")
    command = [sys.executable, "-m", "promptology", "page", "cipher", "--model", model]
    command += ["--encoder", "own_models:encoder", "--prompt", "Write a short message from these notes."]
    command += ["--session", "session.json", "--no-open", *options]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=folder, env={**os.environ, **(env or {})}
    )
    try:
        said = []
        while line := process.stderr.readline():
            said.append(line)
            if found := re.search(r"http://\S+", line):
                break
        assert line, said
        yield Page(process, found[0], said)
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


class Visitor:
    """Plain HTTP with a cookie and the secret of the forms, as a browser would have them."""

    def __init__(self, page, enter=True):
        self.host, self.cookie, self.form = page.host, "", ""
        self.version, self.text = "", ""
        if enter:
            split = urlsplit(page.url)
            status, headers, _ = self.get(f"{split.path}?{split.query}")
            assert status == 303
            self.cookie = headers["set-cookie"].partition(";")[0]
            self.get("/new")

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, timeout=20)
        given = {"Host": self.host, **({"Cookie": self.cookie} if self.cookie else {}), **(headers or {})}
        try:
            connection.request(method, path, body, given)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read().decode("utf-8")
        finally:
            connection.close()

    def get(self, path, **headers):
        status, found, text = self.ask("GET", path, headers=headers)
        if form := re.search(r'name="form" value="([^"]+)"', text):
            self.form = form[1]
        if version := re.search(r'id="editor".*?name="version" value="(\d+)"', text, re.S):
            self.version = version[1]
            self.text = unescape(re.findall(r'<textarea id="text"[^>]*>\n(.*?)</textarea>', text, re.S)[0])
        return status, found, text

    def post(self, path, headers=None, **values):
        body = urlencode({"form": self.form, **values})
        kind = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self.ask("POST", path, body, kind)

    def begin(self, text, id="0123456789ab"):
        """Put a text in and return the address of its round, with the draft's page read."""
        status, headers, _ = self.post("/rounds", id=id, **{"field-text": text})
        assert status == 303, status
        self.settle(headers["location"])
        self.get(headers["location"])
        return headers["location"]

    def settle(self, where):
        """Wait until the models have done what was due."""
        for _ in range(400):
            if not json.loads(self.get(f"{where}/now")[2])["busy"]:
                return
            time.sleep(0.02)
        raise AssertionError("the models are at work for ever")
