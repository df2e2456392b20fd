"""The pages and what their forms do. Views are functions of the desk; templates stand beside this file."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from promptology.data.items import Signature
from promptology.errors import PromptologyError, UsageError
from promptology.evidence import pictures
from promptology.evidence.pages import FOLD
from promptology.evidence.wording import cut, visible
from promptology.predict.recalling import LONGEST
from promptology.prompts.render import input_text
from promptology.web import drawing, views
from promptology.web.desk import Desk, Look, Stale

HERE = Path(__file__).parent
LARGEST = 4 * 2**20
"""Bytes of a form at most."""
PATIENCE = 1.0
"""Seconds that an answer waits for a quick model, so that a draft need not be waited for on a page of its own."""
EMPTY = "Fill in every field first: a draft is written from what stands there."
LONG = f"A preference has at most {LONGEST} characters."


class RefusedForm(Exception):
    """A form that is not taken: status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


@dataclass(frozen=True)
class Site:
    """What all pages show, and what they work on."""

    desk: Desk
    signature: Signature
    about: Mapping[str, Any]
    """Names for the frame: `task`, `method`, `model`, `encoder`, `simulated`, `session`, `prompt`, `use`."""
    form: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """What every form of ours carries, and no other can know."""

    @cached_property
    def templates(self) -> Any:
        """The templates: texts go in as texts, with control and direction characters made visible."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup, escape

        def shown(value: Any) -> Any:
            return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

        def exact(text: str) -> Any:
            # What a form sends back must be what it was, marks of direction included.
            return escape(text)

        def as_is(text: str) -> Any:
            # HTML drops the first line break of a field.
            return Markup("\n") + escape(text)

        loader = FileSystemLoader([HERE, Path(pictures.__file__).parent])
        made = Environment(
            loader=loader,
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
            finalize=shown,
        )
        made.filters.update(cut=cut, snippet=views.snippet, as_is=as_is, exact=exact)
        made.globals.update(fold=FOLD, place=drawing, about=self.about, form=self.form, longest=LONGEST)
        return made

    def page(self, template: str, look: Look, status: int = 200, **values: Any) -> Response:
        """Return a page; a state that cannot be encoded, such as half a character, is shown as far as it can be."""
        given = {
            "line": "",
            "typed": "",
            "replace": "",
            "look": look,
            "count": len(views.preferences(look.state)),
            **values,
        }
        text = self.templates.get_template(template).render(**given)
        return Response(text.encode("utf-8", "replace"), status, media_type="text/html; charset=utf-8")

    def asset(self, name: str, kind: str) -> Response:
        """Return a style sheet, script or picture."""
        styled = name == "style.css"  # it takes in the report's
        text = self.templates.get_template(name).render() if styled else (HERE / name).read_text(encoding="utf-8")
        return Response(text.encode(), media_type=kind)


async def sent(request: Request) -> dict[str, str]:
    """Return what a form of ours sent; raises RefusedForm for any other."""
    parts: list[bytes] = []
    async for some in request.stream():
        parts.append(some)
        if sum(map(len, parts)) > LARGEST:
            raise RefusedForm(413, f"This is more than a page takes: {LARGEST // 2**20} MiB.")
    try:
        pairs = parse_qsl(b"".join(parts).decode(), keep_blank_values=True, max_num_fields=200)
    except ValueError:
        raise RefusedForm(400, "This is not a form of this page.") from None
    given = {name: value.replace("\r\n", "\n") for name, value in pairs}
    ours: str = request.app.state.form
    if not secrets.compare_digest(given.get("form", "").encode("utf-8", "replace"), ours.encode()):
        raise RefusedForm(403, "This form is not of this page as it runs now: load the page again.")
    return given


Form = Annotated[dict[str, str], Depends(sent)]


def build(site: Site) -> FastAPI:
    """Return the application; `Guard` stands before it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.form = site.form

    @app.exception_handler(RefusedForm)
    def refused(request: Request, error: RefusedForm) -> Response:
        return Response(f"{error.line}\n", error.status, media_type="text/plain; charset=utf-8")

    @app.exception_handler(404)
    def absent(request: Request, error: Exception) -> Response:
        return site.page("absent.html.j2", site.desk.look(), 404)

    for path, name, kind in (
        ("/style.css", "style.css", "text/css; charset=utf-8"),
        ("/page.js", "page.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ):
        app.add_api_route(path, lambda name=name, kind=kind: site.asset(name, kind), methods=["GET"])
    _reading(app, site)
    _writing(app, site)
    return app


def _reading(app: FastAPI, site: Site) -> None:
    desk = site.desk

    @app.get("/")
    def start() -> Response:
        look = desk.look()
        some = views.unfinished(look.state)
        return write_page(site, look, some[0]["id"]) if some else new_page(site, look)

    @app.get("/new")
    def new(after: str = "") -> Response:
        return new_page(site, desk.look(), after=after)

    @app.get("/rounds/{id}")
    def one(id: str) -> Response:
        look = desk.look()
        if any(r["id"] == id for r in views.unfinished(look.state)):
            return write_page(site, look, id)
        ended = [r["id"] for r in views.finished(look.state)]
        if id in ended:
            return RedirectResponse(f"/history?before={ended.index(id) + 1}#round-{id}", 303)
        return site.page("absent.html.j2", look, 404)

    @app.get("/rounds/{id}/now")
    def now(id: str) -> Response:
        look = desk.look()
        status = next((r["status"] for r in look.state["rounds"] if r["id"] == id), "gone")
        line = views.learned_line(look, id)
        return JSONResponse({"status": status, "busy": look.busy, "line": line})

    @app.get("/preferences")
    def preferences(q: str = "") -> Response:
        return preferences_page(site, desk.look(), q)

    @app.get("/history")
    def history(before: str = "") -> Response:
        look = desk.look()
        values = views.history(look, int(before) if re.fullmatch(r"[0-9]{1,9}", before) else None)
        return site.page("history.html.j2", look, **values)

    @app.get("/session.json")
    def download() -> Response:
        text = json.dumps(desk.look().state, indent=1)
        given = {"content-disposition": 'attachment; filename="session.json"'}
        return Response(text, media_type="application/json", headers=given)


def _writing(app: FastAPI, site: Site) -> None:
    desk = site.desk

    @app.post("/rounds")
    def begin(given: Form) -> Response:
        inputs = {f.name: given.get(f"field-{f.name}", "") for f in site.signature.fields}
        look, id = desk.look(), given.get("id", "")
        if not all(text.strip() for text in inputs.values()):
            return new_page(site, look, 400, line=EMPTY, inputs=inputs)
        if not re.fullmatch(r"[0-9a-f]{12}", id):
            raise RefusedForm(400, "This is not a form of this page.")
        try:
            desk.open_round(id, inputs, input_text(inputs, site.signature))
        except PromptologyError as error:
            return new_page(site, look, 500, line=str(error), inputs=inputs)
        desk.wait(PATIENCE)
        return RedirectResponse(f"/rounds/{id}", 303)

    @app.post("/rounds/{id}")
    def end(id: str, given: Form) -> Response:
        text, do = given.get("text", ""), given.get("do", "done")
        try:
            where = act(desk, id, do, text, _version(given))
        except (Stale, PromptologyError) as error:
            status = 409 if isinstance(error, Stale) else 500
            look = desk.look()
            if any(r["id"] == id for r in views.unfinished(look.state)):
                return write_page(site, look, id, status, line=str(error), typed=text)
            return new_page(site, look, status, line=str(error), typed=text)
        if where == "/history":
            desk.wait(PATIENCE)
        return RedirectResponse(where, 303)

    @app.post("/rounds/{id}/text")
    def keep(id: str, given: Form) -> Response:
        text = given.get("text", "")
        try:
            version = desk.write(id, text, _version(given))
        except (Stale, PromptologyError) as error:
            look = desk.look()
            known = any(r["id"] == id and r["status"] == "drafted" for r in look.state["rounds"])
            now = int(look.note(id).get("version", 0)) if known else None
            return JSONResponse({"line": str(error), "version": now}, 409 if isinstance(error, Stale) else 500)
        draft = next((r.get("draft", "") for r in desk.look().state["rounds"] if r["id"] == id), "")
        pieces = views.differences(draft, text, views.LIVE) if given.get("pieces") else None
        shown = None if pieces is None else [[p.kind, visible(p.text)] for p in pieces]
        return JSONResponse({"version": version, "cost": views.counted(draft, text), "pieces": shown})

    @app.post("/preferences")
    def change(given: Form) -> Response:
        text = " ".join(given.get("text", "").split())
        where = given.get("back", "")
        try:
            settle(desk, given.get("do", ""), given.get("ids", "").split(), given.get("was", ""), text)
        except (Stale, PromptologyError) as error:
            status = 409 if isinstance(error, Stale) else 400
            return preferences_page(site, desk.look(), "", status, line=str(error), typed=text)
        desk.wait(PATIENCE)
        return RedirectResponse(f"/rounds/{where}" if re.fullmatch(r"[0-9a-f]{12}", where) else "/preferences", 303)


def act(desk: Desk, id: str, do: str, text: str, version: int) -> str:
    """Do what a button of a round says; return where to go on. Raises Stale or UsageError."""
    if do == "done":
        desk.finish(id, text, version)
    elif do == "accept":
        desk.accept(id, text, version)
    elif do == "save":
        desk.write(id, text, version)
    elif do == "undo":
        desk.undo(id, text, version)
    elif do == "again":
        desk.again(id, text, version)
    elif do in ("drop", "forget"):
        desk.drop(id, version if do == "drop" else None)
    elif do in ("retry", "understand"):
        desk.retry()
    else:
        raise UsageError(f"there is no button {do!r}")
    if do in ("forget", "understand"):
        return "/history"
    return f"/new?after={id}" if do in ("done", "accept") else "/new" if do == "drop" else f"/rounds/{id}"


def settle(desk: Desk, do: str, ids: list[str], before: str, text: str) -> None:
    """Do what a button beside a preference says; raises Stale or UsageError."""
    if len(text) > LONGEST:
        raise UsageError(f"{LONG} This one has {len(text)}.")
    if do in ("edit", "add") and not text:
        raise UsageError("A preference without words says nothing; to be rid of one, delete it.")
    if do == "edit":
        desk.prefer(ids, before, text)
    elif do in ("never", "delete"):
        desk.prefer(ids, before, "", never=do == "never")
    elif do == "restore":
        desk.use_again(before)
    elif do in ("pin", "unpin"):
        desk.pin(before, do == "pin")
    elif do == "add":
        desk.pin(text, True)
    else:
        raise UsageError(f"there is no button {do!r}")


def _version(given: Mapping[str, str]) -> int:
    text = given.get("version", "")
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else -1


def new_page(
    site: Site,
    look: Look,
    status: int = 200,
    *,
    after: str = "",
    line: str = "",
    typed: str = "",
    inputs: Mapping[str, str] | None = None,
) -> Response:
    """Return the page where a text is put in. `typed`: what the person wrote for a round that is gone."""
    return site.page(
        "new.html.j2",
        look,
        status,
        line=line,
        typed=typed,
        id=secrets.token_hex(6),
        fields=views.fields_of(site.signature, inputs or {}),
        instruction=site.signature.instruction,
        waiting=views.unfinished(look.state),
        average=views.average(look.state),
        finished=len(views.finished(look.state)),
        after=after,
        said=views.learned_line(look, after),
        pending=any(r["id"] == after and r["status"] == "edited" for r in look.state["rounds"]),
    )


def write_page(site: Site, look: Look, id: str, status: int = 200, *, line: str = "", typed: str = "") -> Response:
    """Return the page of a round that waits for its draft or is being edited."""
    values = views.writing(look, id)
    typed = typed if typed != values["text"] else ""
    replace = id if typed and values["round"]["status"] == "drafted" else ""
    return site.page("write.html.j2", look, status, line=line, typed=typed, replace=replace, **values)


def preferences_page(
    site: Site, look: Look, query: str, status: int = 200, *, line: str = "", typed: str = ""
) -> Response:
    """Return the page of all preferences."""
    found = views.preferences(look.state, query)
    values = {"query": query, "found": found, "pinned": look.state["pinned"], "never": look.notes["never"]}
    return site.page("preferences.html.j2", look, status, line=line, typed=typed, **values)
