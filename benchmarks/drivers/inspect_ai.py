"""inspect_ai's side: `eval` with its mock model, its log, and `read_eval_log`."""

import time
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import exact
from inspect_ai.solver import generate


def samples(spec, stopwatch):
    """Score one prompt on all samples, and read the log back."""
    classes = spec["classes"]

    def say(input, tools, tool_choice, config):
        text = input[-1].text
        code = text[text.rfind("item-") :][:19]
        found = ModelOutput.from_content("mockllm/model", classes[int(code[-8:], 16) % len(classes)])
        # Without usage it counts tokens, by a tokenizer that it would download.
        found.usage = ModelUsage(input_tokens=len(text) // 4, output_tokens=2)
        return found

    def task_of(rows):
        found = [Sample(f"{spec['prompt']}\n\n{q['text']}", target=q["label"], id=q["code"]) for q in rows]
        return Task(dataset=found, solver=generate(), scorer=exact())

    folder = Path(spec["folder"]) / "logs"
    model = get_model("mockllm/model", custom_outputs=say)
    eval(task_of(spec["warm"]), model=model, log_dir=str(folder / "warm"), display="none")
    with stopwatch.running():
        (log,) = eval(task_of(spec["questions"]), model=model, log_dir=str(folder / "main"), display="none")
    if log.status != "success":
        raise RuntimeError(f"status {log.status}: {log.error}")
    (file,) = [f for f in (folder / "main").rglob("*") if f.is_file()]
    began = time.perf_counter()
    again = read_eval_log(str(file))
    reading = time.perf_counter() - began
    codes = [q["code"] for q in spec["questions"]]

    def outputs(log):
        said = {s.id: s.output.completion for s in log.samples}
        return [said[c] for c in codes]

    return {
        "answers": outputs(log),
        "read": outputs(again),
        "score": log.results.scores[0].metrics["mean"].value,
        "reading": reading,
        "log_mb": file.stat().st_size / 2**20,
    }
