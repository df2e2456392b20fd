"""Pages in the browser: the page of a method that learns from a person (extra `web`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from promptology.data.extras import require
from promptology.places import home

__all__ = ["page"]


def page(
    task: Any,
    model: Any,
    method: Any = "cipher",
    *,
    helpers: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    settings: Mapping[str, Any] | None = None,
    budget: Any = None,
    session: str | Path | None = None,
    out: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    open_browser: bool = False,
    say: Callable[[str], None] = print,
    command: str = "",
    **options: Any,
) -> Path:
    """Serve the page on which a person writes with a method that learns from edits, until it is stopped.

    `session`: a file, or a name for one in the user's own folder; what was done there is taken up. `out`: where the
    prompt is saved as it is learned, default beside the session; it is returned. `host`: of this machine alone; `port`:
    0 takes any free one. `command`: how the prompt is applied, shown on the page. Others as in `fit`; the budget is for
    the whole session. Raises UsageError, AccessError or StoreError before the page is there.
    """
    for module in ("fastapi", "uvicorn"):
        require(module, "web", "the page")
    from promptology.api.common import as_task, open_all
    from promptology.methods.registry import create
    from promptology.models.opening import model as open_model
    from promptology.web.asking import asking
    from promptology.web.server import Place, serve

    task, opened, chosen = as_task(task, prompt, system), open_model(model), create(method, settings)
    what = asking(task, chosen, opened, open_all(helpers), budget, options.pop("store", None), **options)
    file = session_file(session or re.sub(r"[^\w-]+", "-", f"{chosen.card.slug}-{task.name}")).absolute()
    folder = Path(out).absolute() if out is not None else file.with_name(f"{file.stem}-prompt")
    serve(what, file, folder, Place(host, port, open_browser), say, command)
    return folder


def session_file(given: str | Path) -> Path:
    """Return the file of a session: as given where it is a path, else of this name in the user's own folder."""
    text = str(given)
    if isinstance(given, Path) or "/" in text or text.endswith(".json"):
        return Path(text).expanduser()
    return home() / "sessions" / f"{text}.json"
