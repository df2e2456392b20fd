"""Who may see a page: only whoever holds its address, under its own name, by its own forms."""

from __future__ import annotations

import json
import re

import pytest
from paging import Visitor, paged

pytest.importorskip("fastapi", reason="the page needs the extra web")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    with paged(folder, env={"PROMPTOLOGY_HOME": str(folder / "home")}) as served:
        yield served


def test_without_the_token_there_is_one_line_and_nothing_else(page):
    stranger = Visitor(page, enter=False)
    for path in (
        "/",
        "/history",
        "/preferences",
        "/session.json",
        "/nowhere",
        "/?token=",
        "/?token=wrong",
        "/openapi.json",
    ):
        status, headers, text = stranger.get(path)
        assert (status, text.count("\n")) == (403, 1) and "it holds the key" in text
        assert "set-cookie" not in headers
    for cookie in ("promptology-1=x", "promptology=", f"promptology-{page.host.rpartition(':')[2]}=wrong"):
        assert stranger.get("/", Cookie=cookie)[0] == 403
    assert stranger.post("/rounds", id="0" * 12, **{"field-text": "x"})[0] == 403


def test_the_token_is_changed_for_a_cookie_that_no_script_reads(page):
    status, headers, text = Visitor(page, enter=False).get(page.url[page.url.index("/?") :] + "&q=a%20b")
    assert (status, text, headers["location"]) == (303, "", "/?q=a+b")
    attributes = headers["set-cookie"].split("; ")[1:]
    assert attributes == ["HttpOnly", "SameSite=Strict", "Path=/"]
    token = page.url.partition("token=")[2]
    assert token not in headers["set-cookie"] and len(token) >= 32
    status, headers, _ = Visitor(page, enter=False).get(
        f"//elsewhere.example/%0d%0aX: y?token={token}".replace(" ", "%20")
    )
    assert status == 303 and re.fullmatch(r"/elsewhere\.example/%0D%0AX%3A%20y", headers["location"])


def test_every_answer_forbids_what_is_not_its_own(page):
    visitor = Visitor(page)
    for path in ("/", "/style.css", "/page.js", "/icon.svg", "/history", "/nowhere", "/?token=wrong"):
        _, headers, _ = visitor.get(path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "*" not in policy
        assert "frame-ancestors 'none'" in policy and headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin" and "server" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", "192.168.0.1:PORT", ""]
)
def test_another_name_for_this_machine_is_refused(page, host):
    visitor = Visitor(page)
    status, _, text = visitor.get("/", Host=host.replace("PORT", page.host.rpartition(":")[2]))
    assert status in (400, 403) and "token" not in text and "textarea" not in text


def test_localhost_is_a_name_of_it(page):
    assert Visitor(page).get("/new", Host=f"localhost:{page.host.rpartition(':')[2]}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_forms_of_other_sites_are_refused(page, headers):
    status, _, text = Visitor(page).post("/preferences", headers, do="add", text="bad")
    assert status == 403 and text.count("\n") == 1


def test_a_form_needs_the_secret_of_this_page(page):
    visitor = Visitor(page)
    good, visitor.form = visitor.form, "wrong"
    status, _, text = visitor.post("/preferences", do="add", text="bad")
    assert status == 403 and "load the page again" in text
    assert visitor.ask("POST", "/preferences", b"\xff\xfe=1")[0] == 400
    assert visitor.ask("POST", "/preferences", b"a=" + b"x" * (5 * 2**20))[0] == 413
    assert visitor.ask("POST", "/preferences", "&".join(f"f{n}=1" for n in range(500)))[0] == 400
    visitor.form = good
    assert json.loads(visitor.get("/session.json")[2])["pinned"] == []
    own = {"Origin": f"http://{page.host}", "Sec-Fetch-Site": "same-origin"}
    assert visitor.post("/preferences", own, do="add", text="good")[0] == 303
    assert json.loads(visitor.get("/session.json")[2])["pinned"] == ["good"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
def test_other_methods_do_nothing(page, method):
    assert Visitor(page).ask(method, "/rounds")[0] == 405
