"""Skills of the simulated model: what is asked for, and where in a message the prompts and answers stand."""

from __future__ import annotations

import functools
import json
import re
from typing import NamedTuple

_JUDGE = re.compile(
    r"\b(which|decide|choose|pick|judge|say)\b[^.?\n]{0,80}\b(better|best|preferable|stronger|wins|prefer)|"
    r"\b(compare|two|both)\b[^.\n]{0,60}\b(assistants?|answers?|responses?|outputs?|candidates?|replies)\b",
    re.I,
)
_TWO_SIDES = re.compile(
    r"\b(answer|response|candidate|output|outputs|assistant|reply|option|sample)s?[ _]*[\"'(]?(a|1|one|first)\b",
    re.I,
)
_WORK = r"(instruction|prompt|system message|directive)s?"
_PARAPHRASE = re.compile(
    rf"\b(paraphras\w*|reword\w*|rephras\w*|same (thing|meaning)|semantically similar|variation of the following)\b[\s\S]*{_WORK}|"
    rf"{_WORK}[\s\S]*\b(paraphras\w*|reword\w*|rephras\w*|in another way|keeping the (semantic )?meaning)\b",
    re.I,
)
_REWRITE = re.compile(
    rf"\b(improv\w*|rewrit\w*|revis\w*|refin\w*|better|new|mutat\w*|cross\w*|propos\w*|generate|optimi[sz]\w*|edit\w*)\b[^\n]{{0,120}}\b{_WORK}\b|"
    rf"\b{_WORK}\b[^\n]{{0,80}}\b(improv\w*|rewritten|revised|better|different from|performs? best)\b",
    re.I,
)
_CRITICISE = re.compile(
    r"\b(what went wrong|reasons? why|critici[sz]\w*|drawbacks?|weakness\w*|feedback|analy[sz]e the (errors|mistakes))\b",
    re.I,
)
_ASKS_PROMPT = re.compile(
    r"<\s*(new_|improved_|revised_)?(prompt|instruction)\s*>|proposed_instruction|new (prompt|instruction)",
    re.I,
)
_TAGGED = re.compile(r"<([A-Za-z][\w-]*)>(.*?)</\1>", re.S)
_FENCED = re.compile(r"```[\w-]*\n(.*?)```", re.S)
_LABELLED = re.compile(
    r"^(?:current |original |old |existing |base )?(?:prompt|instruction)s?\s*(?:\d+)?\s*:\s*(.+?)(?=\n\s*\n|\n[A-Z][\w ]{2,30}:|\Z)",
    re.I | re.M | re.S,
)
_MARKED = re.compile(r"\[\[ ## (\w*(?:prompt|instruction)) ## \]\]\n(?!\{)(.+?)\s*(?=\n[^\n]*\[\[ ##|\Z)", re.S)
_NAMES = re.compile(r"\b(prompt|instruction)", re.I)
_SCORED = re.compile(
    r"(?:text|prompt|instruction)\s*:\s*(.+?)\n\s*(?:score|accuracy|rating)\s*:\s*(-?[0-9.]+)", re.I | re.S
)
_PAIR = re.compile(r"^Input: .+\nOutput: ", re.M)
PROMPT_TAGS = ("prompt", "new_prompt", "improved_prompt", "instruction", "new_instruction", "ins", "text")
THOUGHT_TAGS = (
    "analysis",
    "reasoning",
    "thoughts",
    "modification",
    "modify",
    "analyse",
    "rationale",
    "feedback",
)
CHOICE_TAGS = ("choice", "choose", "answer", "verdict", "winner", "better")
SIDES = (("a", "b"), ("1", "2"), ("one", "two"), ("first", "second"))


@functools.lru_cache(maxsize=64)
def skill_of(text: str, question_at: int) -> str:
    """Return judge, paraphrase, rewrite, criticise or solve.

    Only what stands before the question that is to be solved counts (`question_at`: its position, or the length of
    the text where there is none), so that words inside an input never change the skill. Judging needs both a request
    to compare and two labelled sides; a rewrite is asked for where a prompt is to be improved or a field for one is
    shown; criticism is criticism without such a field. Remembered, as requests of one prompt differ in inputs alone.
    """
    frame = text[:question_at]
    if _JUDGE.search(text) and _TWO_SIDES.search(text) and regions(text):
        return "judge"
    # A meta-prompt shows the prompt it works on; a task's own prompt does not.
    shows_prompt = bool(
        _ASKS_PROMPT.search(text) or _LABELLED.search(text) or _SCORED.search(text) or _FENCED.search(text)
    )
    if shows_prompt and _PARAPHRASE.search(text):
        return "paraphrase"
    if _LABELLED.search(text) and _CRITICISE.search(text) and not _ASKS_PROMPT.search(text):
        return "criticise"
    if shows_prompt and _REWRITE.search(text):
        return "rewrite"
    if _PARAPHRASE.search(frame):
        return "paraphrase"
    return "solve"


def current_prompt(text: str, known: list[str]) -> str:
    """Return the prompt that a meta-prompt works on.

    The best of scored ones, else a block in tags, fences or quotes that is called prompt or instruction, else the
    block that holds most of the known sentences, else the longest.
    """
    scored = _SCORED.findall(text)
    if scored:
        best = max(scored, key=lambda pair: _number(pair[1]))
        return str(best[0]).strip().strip("<>\"'")
    tagged = [(name.lower(), body.strip()) for name, body in _TAGGED.findall(text)]
    named = [body for name, body in tagged if ("prompt" in name or "instruct" in name) and _is_prompt(body)]
    labelled = [m.strip().strip("\"'") for m in _LABELLED.findall(text)]
    fenced = _fenced(text)
    marked = [body.strip() for _, body in _MARKED.findall(text)]
    for group in (named, fenced, marked, labelled):
        if group:
            return str(max(group, key=lambda b: (_count(b, known), len(b))))
    blocks: list[str] = [body for _, body in tagged if _is_prompt(body)] or [
        p.strip() for p in text.split("\n\n") if p.strip()
    ]
    return max(blocks, key=lambda b: (_count(b, known), len(b))) if blocks else text.strip()


def induces(text: str) -> bool:
    """Whether a request shows examples and no prompt: the instruction behind them is to be worked out."""
    named = any(("prompt" in n or "instruct" in n) and _is_prompt(b) for n, b in _TAGGED.findall(text.lower()))
    shows_prompt = named or _SCORED.search(text) or _FENCED.search(text) or _LABELLED.search(text)
    return bool(_PAIR.search(text)) and not shows_prompt


def _number(text: str) -> float:
    try:
        return float(text.rstrip("."))
    except ValueError:  # dots alone, or a version such as 1.2.3
        return 0.0


def _fenced(text: str) -> list[str]:
    """Return the blocks in fences, those alone that the line before them calls a prompt where there are such."""
    found = [(text[: m.start()].rstrip().rpartition("\n")[2], m[1].strip()) for m in _FENCED.finditer(text)]
    return [body for line, body in found if _NAMES.search(line)] or [body for _, body in found]


def _is_prompt(body: str) -> bool:
    """Whether a text between tags is one, and no placeholder such as "..." or "new prompt"."""
    blank = r"[.\s]*(and|\.\.\.|…|(the |your )?(new|final|improved) (prompt|instruction))?[.\s]*"
    return len(body) > 3 and not re.fullmatch(blank, body, re.I)


def _count(block: str, known: list[str]) -> int:
    low = block.casefold()
    return sum(sentence.casefold() in low for sentence in known)


class Regions(NamedTuple):
    """The two candidates of a comparison, as text, and the names that the request gives them."""

    first: str
    second: str
    names: tuple[str, str]


def regions(text: str) -> Regions | None:
    """Return the two sides of a comparison: tags such as <outputs_a>, else headings such as "Answer A:"."""
    tagged = {name.lower(): body for name, body in _TAGGED.findall(text)}
    for one, two in SIDES:
        for name in tagged:
            other = re.sub(rf"(^|_|-){one}$", rf"\g<1>{two}", name)
            if other != name and other in tagged:
                return Regions(tagged[name], tagged[other], (one.upper(), two.upper()))
    for one, two in SIDES:
        word = r"(?:answers?|responses?|candidates?|outputs?|assistants?|repl(?:y|ies)|options?|samples?)"
        heads = [re.search(rf"^[^\w\n]*{word}[ _]*[\"'(]?{side}\b[^\n:]*:?", text, re.I | re.M) for side in (one, two)]
        a, b = heads
        if a and b and a.end() < b.start():
            tail = text[b.end() :]
            # The last paragraph is usually the request again, not part of the second answer.
            return Regions(text[a.end() : b.start()], tail.rsplit("\n\n", 1)[0] or tail, (one.upper(), two.upper()))
    return None


def fill_form(request: str, *, prompt: str = "", choice: str = "", thought: str = "") -> str:
    """Return a reply in the form that a request asks for: tags, JSON fields, [[ ## field ## ]] markers, a fence, plain."""
    value = prompt or choice
    tags = PROMPT_TAGS if prompt else CHOICE_TAGS
    shown = list(dict.fromkeys(t.lower() for t in re.findall(r"<([A-Za-z][\w-]*)>", request)))
    blank = [t.lower() for t, body in _TAGGED.findall(request) if not _is_prompt(body)]
    wants_json = bool(re.search(r"\bJSON\b", request))
    # A pair of tags with nothing in it is a form to fill; one with a text in it only shows the text.
    main = [t for t in blank if t in tags] or ([] if wants_json else [t for t in shown if t in tags])
    if main:
        lines = [f"<{t}>{thought}</{t}>" for t in shown if t in THOUGHT_TAGS]
        return "\n".join([*lines, f"<{main[-1]}>{value}</{main[-1]}>"])
    markers = re.findall(r"\[\[ ## (\w+) ## \]\]", request)
    if markers:
        target = [
            m for m in dict.fromkeys(markers) if m in ("proposed_instruction", *tags) or m.endswith("instruction")
        ]
        return "\n\n".join([f"[[ ## {m} ## ]]\n{value}" for m in target[-1:]] + ["[[ ## completed ## ]]"])
    if wants_json:
        keys = re.findall(r"\"(\w+)\"\s*:", request) or ["prompt" if prompt else "choice"]
        return json.dumps({k: thought if k.lower() in THOUGHT_TAGS else value for k in dict.fromkeys(keys)})
    if prompt and re.search(r"```|triple back|fence", request):
        return f"```\n{value}\n```"
    if prompt and re.search(
        r"\[\s*(?:new |improved )?(?:instruction|prompt|text)?\s*\]|square brackets", request, re.I
    ):
        return f"[{value}]"
    return value if prompt else f"{thought}\n{value}"
