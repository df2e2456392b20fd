"""promptology's rewriter and task model under dspy's `MIPROv2` and gepa's `optimize`, which dspy brings.

dspy: the shim is an engine for `dspy.LM`, so that dspy's own cache stands before it. A request of the task's model is
read back into instruction, demonstrations and input, and answered in dspy's field; a request for an instruction goes to
the rewriter as it stands; the proposer's requests for descriptions of program and data get a plain sentence in each
field (the simulated model would have nothing to say), and count as calls. The settings are one of dspy's three
automatic ones, else defaults; both sides' items as trainset and valset.

gepa: its `DefaultAdapter` with its default evaluator, whose feedback names the right answer; task and reflection model
are functions. Defaults, but for `minibatch` and `items`, with which the notes show gepa on the items of our entrant.
"""

import logging

import dspy
import gepa
from dspy.lm15 import Message, Response, TextPart, Usage
from dspy.teleprompt import MIPROv2
from fields import fields, filled, read, read_back
from searching import searched

ENDLESS = 10**9


def mipro(spec, stopwatch):
    """Search with MIPROv2 on all cases."""
    logging.disable(logging.CRITICAL)
    dspy.configure_cache(enable_disk_cache=False)
    return searched(spec, stopwatch, lambda case, models: optimize(spec, case, models))


def optimize(spec, case, models):
    """Compile one program with MIPROv2."""
    models.counter.keep(spec["start"])
    name = f"simulated/{spec['world']}-{case['seed']}"
    solver = dspy.LM(name, engine=Engine(models), temperature=0.0, max_tokens=1000)
    writer = dspy.LM(f"{name}-writer", engine=Engine(models), temperature=1.0, max_tokens=1000)
    dspy.configure(lm=solver)
    splits = {
        split: [dspy.Example(text=x, label=y).with_inputs("text") for x, y in case[split]]
        for split in ("train", "validation")
    }
    watched = Watched(
        lambda example, made, trace=None: float(example.label == made.label),
        prompt_model=writer,
        task_model=solver,
        auto=spec["auto"],
        num_threads=1,
        seed=case["seed"] + 1,  # 0 counts as no seed
    )
    watched.counter = models.counter
    program = dspy.Predict(dspy.Signature("text -> label", spec["start"]))
    found = watched.compile(program, trainset=splits["train"], valset=splits["validation"])
    models.counter.keep(found.signature.instructions)


class Watched(MIPROv2):
    """Notes its best program when it logs one; what it does is unchanged."""

    best = float("-inf")

    def _log_normal_eval(self, score, best_score, *rest):
        if best_score > self.best and score == best_score:
            self.best = best_score
            self.counter.keep(rest[8].signature.instructions)
        super()._log_normal_eval(score, best_score, *rest)

    def _perform_full_evaluation(self, *given, **named):
        found = super()._perform_full_evaluation(*given, **named)
        self.counter.keep(found[1].signature.instructions)
        return found


class Engine:
    """Answers dspy's requests."""

    def __init__(self, models):
        self.models = models

    def complete(self, request):
        """Return the answer to one request."""
        system = request.system if isinstance(request.system, str) else "".join(p.text for p in request.system or ())
        turns = [(m.role, m.text or "") for m in request.messages]
        text = self.reply(system, turns)
        usage = Usage(input_tokens=0, output_tokens=0, total_tokens=0)
        message = Message.assistant([TextPart(text)])
        return Response(id=None, model="simulated", message=message, finish_reason="stop", usage=usage)

    def reply(self, system, turns):
        """Return the text of the answer, in dspy's fields."""
        wanted = fields(system)
        if wanted == ["label"]:
            prompt, text = read_back(system, turns)
            return filled({"label": self.models.solve(prompt, text)})
        if wanted == ["proposed_instruction"]:
            said = self.models.write("\n\n".join([system, *(text for _, text in turns)]))
            self.models.counter.proposed(read("proposed_instruction", said), self.models.spec["known"])
            return said
        self.models.counter.take()
        return filled(dict.fromkeys(wanted, "Texts, each with its label."))


def reflect(spec, stopwatch):
    """Search with gepa on all cases."""
    return searched(spec, stopwatch, lambda case, models: evolve(spec, case, models))


def evolve(spec, case, models):
    """Run `gepa.optimize` until the calls are used up."""
    counter = models.counter
    counter.keep(spec["start"])

    def rows(some):
        return [{"input": x, "additional_context": {}, "answer": y} for x, y in some]

    def write(request):
        text = models.write(request)
        counter.proposed(read_fence(text), spec["known"])
        return text

    gepa.optimize(
        seed_candidate={"instruction": spec["start"]},
        trainset=rows(case["train"]),
        valset=rows(case["validation"][: spec.get("items")]),
        task_lm=lambda messages: models.solve(messages[0]["content"], messages[1]["content"]),
        reflection_lm=write,
        reflection_minibatch_size=spec.get("minibatch"),
        max_metric_calls=ENDLESS,
        callbacks=[Best(counter)],
        logger=Quiet(),
        seed=case["seed"],
    )


def read_fence(text):
    """Return what gepa reads as the new instruction."""
    from gepa.strategies.instruction_proposal import InstructionProposalSignature

    return InstructionProposalSignature.output_extractor(text)["new_instruction"]


class Best:
    """Notes the candidate with the best mean on the validation items, the oldest of equals, as gepa returns it."""

    def __init__(self, counter):
        self.counter, self.best = counter, float("-inf")

    def on_valset_evaluated(self, event):
        """Note a candidate that is better than all before it."""
        if event["average_score"] > self.best:
            self.best = event["average_score"]
            self.counter.keep(event["candidate"]["instruction"])


class Quiet:
    """A logger that says nothing."""

    def log(self, message):
        """Say nothing."""
