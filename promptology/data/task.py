"""Task: items in splits, a signature and a metric; the labels of the test split are sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from promptology.data.files import cell
from promptology.data.images import Image, as_image, is_image
from promptology.data.items import SEALED, ClassLabel, Field, Item, Signature, digest
from promptology.data.metrics import as_metric, default_metric, must_fit
from promptology.data.scoring import Metric
from promptology.data.signatures import looks_like_classes
from promptology.data.splits import DEFAULT_SHARES, draw, hold_out, scale
from promptology.data.targets import Reading, listed, read_candidates, read_target
from promptology.errors import SealedSplitError, UsageError

Row = Item | Mapping[str, Any] | tuple[Any, Any] | str

SPLITS = ("train", "validation", "test", "unlabeled")


class Task:
    """What is to be done: items in splits, what goes in and comes out, and how an answer is scored.

    `train`, `validation`, `test` and `unlabeled` take rows: `Item`s, mappings with a "label" key, (input, label)
    pairs, or plain strings (inputs without a label). Where only `train` is given, validation and test are drawn from
    it, stratified by label (an item of several classes by its rarest one), by `split_seed` (independent of any run's
    seed, so that a test split stays sealed over repeated runs). A task may have no items at all, or no labels. Where
    labels are classes, numbers and booleans become class names the way a file would show them ("1", "true"). Labels
    that are lists are several classes where their names repeat, else several right texts; a `signature` says where
    they are spans or a ranking. `notes` tells what a loader guessed or noticed.

    Raises UsageError for rows that cannot be read, duplicate ids, a single class, labels outside `classes`, or a
    metric that cannot score such answers;
    SealedSplitError for the test items of another task, which must come from its `open_test`.
    """

    def __init__(
        self,
        train: Iterable[Row] = (),
        validation: Iterable[Row] | None = None,
        test: Iterable[Row] | None = None,
        unlabeled: Iterable[Row] = (),
        *,
        signature: Signature | None = None,
        metric: Metric | str | Callable[..., float] | None = None,
        classes: Sequence[str | ClassLabel] | None = None,
        instruction: str = "",
        label: str = "label",
        name: str = "task",
        split_seed: int = 0,
        shares: Mapping[str, float] = DEFAULT_SHARES,
        notes: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.notes = tuple(notes)
        given = {
            "train": _items(train, "train", label),
            "validation": None if validation is None else _items(validation, "validation", label),
            "test": None if test is None else _items(test, "test", label),
            "unlabeled": _items(unlabeled, "unlabeled", label),
        }
        self.split_seed = split_seed
        splits = _complete(given, shares, split_seed)
        for split in SPLITS:
            _check_ids(splits[split], split)
        self.signature = signature or _infer_signature(splits, classes, instruction)
        splits = {split: [_settled(item, self.signature, split) for item in items] for split, items in splits.items()}
        _check_labels(splits, self.signature)
        self.metric = as_metric(metric) if metric is not None else default_metric(self.signature)
        must_fit(self.metric, self.signature)
        self.train: tuple[Item, ...] = tuple(splits["train"])
        self.validation: tuple[Item, ...] = tuple(splits["validation"])
        self.unlabeled: tuple[Item, ...] = tuple(splits["unlabeled"])
        self._digest: list[str] = []
        self._sealed: tuple[Item, ...] = tuple(splits["test"])
        self.test: tuple[Item, ...] = tuple(i.with_target(SEALED) if i.labelled else i for i in self._sealed)

    def open_test(self) -> tuple[Item, ...]:
        """Return the test items with their labels. For evidence alone, which counts and prints every opening."""
        return self._sealed

    def with_prompt(self, instruction: str | None = None, system: str | None = None) -> Task:
        """Return the same task starting from another prompt; items are shared, the seal stays."""
        return self._with(signature=self.signature.with_prompt(instruction, system))

    def with_metric(self, metric: Metric | str | Callable[..., float]) -> Task:
        """Return the same task scored by another metric."""
        changed = as_metric(metric)
        must_fit(changed, self.signature)
        return self._with(metric=changed)

    def with_items(self, train: Sequence[Item], validation: Sequence[Item], notes: Sequence[str] = ()) -> Task:
        """Return the same task with other training and validation items; the test split and its seal stay."""
        return self._with(train=tuple(train), validation=tuple(validation), notes=(*self.notes, *notes), _digest=[])

    def among(self, classes: Sequence[str], name: str = "") -> Task:
        """Return the task of some of the classes: items of other classes are left out, the seal of the rest stays.

        `name` is put behind the task's. Raises UsageError for a class that is not there, or fewer than two.
        """
        known = {c.name: c for c in self.signature.classes}
        if unknown := [c for c in classes if c not in known]:
            raise UsageError(f"task {self.name!r} has no class {unknown[0]!r}")
        wanted = {*classes}

        def kept(items: Iterable[Item]) -> tuple[Item, ...]:
            return tuple(i for i in items if not i.labelled or i._target in wanted)

        sealed = kept(self._sealed)
        ids = {i.id for i in sealed}
        found = self._with(
            signature=replace(self.signature, classes=tuple(c for c in self.signature.classes if c.name in wanted)),
            train=kept(self.train),
            validation=kept(self.validation),
            test=tuple(i for i in self.test if i.id in ids),
            _sealed=sealed,
            _digest=[],
            name=f"{self.name} {name}".strip(),
        )
        if len(wanted) < 2:
            raise UsageError(f"task {found.name!r}: a classification task needs at least two classes")
        return found

    def _with(self, **changes: Any) -> Task:
        other = object.__new__(Task)
        other.__dict__.update(self.__dict__)
        other.__dict__.update(changes)
        return other

    @property
    def labelled(self) -> bool:
        """Whether the test split has labels to score against."""
        return bool(self._sealed) and all(i.labelled for i in self._sealed)

    def fingerprint(self) -> str:
        """Hash of items, splits, signature and metric: two tasks with one fingerprint are the same task."""
        return digest(
            {
                "items": self.items_fingerprint(),
                "signature": self.signature.to_json(),
                "metric": getattr(self.metric, "identity", self.metric.name),
            }
        )

    def items_fingerprint(self) -> str:
        """Hash of the items and their splits alone, by which openings of a test split are counted."""
        if not self._digest:  # shared with the copies that differ in prompt or metric alone
            rows = [[split, i.id, dict(i.inputs), i._target] for split, items in self._all().items() for i in items]
            self._digest.append(digest(rows))
        return self._digest[0]

    def _all(self) -> dict[str, tuple[Item, ...]]:
        return {
            "train": self.train,
            "validation": self.validation,
            "test": self._sealed,
            "unlabeled": self.unlabeled,
        }

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(items)} {split}" for split, items in self._all().items() if items)
        return f"Task({self.name!r}: {sizes or 'no items'}; {self.signature.output}; {self.metric.name})"


def _items(rows: Iterable[Row], split: str, label: str) -> list[Item]:
    return [_pictured(_item(row, f"{split}-{n}", label)) for n, row in enumerate(rows)]


def _pictured(item: Item) -> Item:
    """Return an item whose bytes, pixels and pillow images are images that are known by their content."""
    raw = {k: as_image(v, item.id) for k, v in item.inputs.items() if is_image(v) and not isinstance(v, Image)}
    return Item(item.id, {**item.inputs, **raw}, item._target, item.meta) if raw else item


def _item(row: Row, id: str, label: str) -> Item:
    if isinstance(row, Item):
        if row.sealed:
            raise SealedSplitError(
                f"the label of test item {row.id!r} is sealed: it cannot become part of another task"
            )
        return row
    if isinstance(row, str):
        return Item(id, {"text": row})
    if isinstance(row, tuple) and len(row) == 2:
        source, target = row
        return Item(id, dict(source) if isinstance(source, Mapping) else {"text": str(source)}, target)
    if isinstance(row, Mapping):
        inputs = {k: v for k, v in row.items() if k not in (label, "id")}
        if not inputs:
            raise UsageError(f"row {id} has no input column besides {label!r} and 'id'")
        return Item(str(row.get("id", id)), inputs, row.get(label))
    raise UsageError(f"row {id} is a {type(row).__name__}; use an Item, a mapping, an (input, label) pair or a string")


def _complete(given: Mapping[str, list[Item] | None], shares: Mapping[str, float], seed: int) -> dict[str, list[Item]]:
    """Draw the splits that were not given from the training items."""
    train = given["train"] or []
    validation, test = given["validation"], given["test"]
    share = scale(shares)
    if validation is None and test is None:
        train, validation, test = draw(train, share, seed)
    elif validation is None:
        kept = share["train"] + share["validation"]
        train, validation = hold_out(train, share["validation"] / kept if kept else 0.0, seed)
    elif test is None:
        train, test = hold_out(train, share["test"], seed)
    return {
        "train": train,
        "validation": validation or [],
        "test": test or [],
        "unlabeled": given["unlabeled"] or [],
    }


def _check_ids(items: Sequence[Item], split: str) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise UsageError(f"{split}: id {item.id!r} appears twice; ids must be unique")
        seen.add(item.id)


def _infer_signature(
    splits: Mapping[str, list[Item]], classes: Sequence[str | ClassLabel] | None, instruction: str
) -> Signature:
    known = [*splits["train"], *splits["validation"]]
    labelled = [i for i in known if i.labelled] or [i for i in splits["test"] if i.labelled]
    some = next(iter(known or splits["unlabeled"] or splits["test"]), None)
    fields = tuple(_field(str(name), value) for name, value in some.inputs.items()) if some else (Field("text"),)
    several = any(listed(i._target) is not None for i in labelled)
    if classes is not None:
        labels = tuple(c if isinstance(c, ClassLabel) else ClassLabel(str(c)) for c in classes)
        return Signature(fields, "classes" if several else "class", labels, instruction)
    if not labelled:
        return Signature(fields, "text", (), instruction)
    if several and any(f.kind == "list" for f in fields):
        return Signature(fields, "ranking", (), instruction)
    names = sorted({name for i in labelled for name in _names_of(i._target)})
    if looks_like_classes(names, len(labelled)):
        labels = tuple(ClassLabel(n) for n in names)
        return Signature(fields, "classes" if several else "class", labels, instruction)
    return Signature(fields, "text", (), instruction)


def _field(name: str, value: Any) -> Field:
    if is_image(value):
        return Field(name, "image")
    return Field(name, "text" if listed(value) is None else "list")


def _names_of(target: Any) -> list[str]:
    parts = listed(target)
    return [_class_name(target)] if parts is None else [_class_name(part) for part in parts]


def _class_name(target: Any) -> str:
    """Return a label as the name of a class; a NumPy scalar as the Python value it holds."""
    return cell(target.item() if hasattr(target, "dtype") and hasattr(target, "item") else target)


def _settled(item: Item, signature: Signature, split: str) -> Item:
    """Return an item whose target, and list of candidates, have the one form that their kind has."""
    output, name = signature.output, signature.candidates
    where = f"{split} item {item.id!r}"
    inputs = item.inputs
    if name and name in inputs:
        inputs = {**inputs, name: read_candidates(inputs[name], name, where)}
        item = Item(item.id, inputs, item._target, item.meta)
    if raw := [field for field in signature.images if not isinstance(inputs.get(field, ""), Image)]:
        inputs = {**inputs, **{field: as_image(inputs.get(field, ""), where) for field in raw}}
        item = Item(item.id, inputs, item._target, item.meta)
    if not item.labelled:
        return item
    target = item._target
    if output == "class":
        return item if isinstance(target, str) else item.with_target(_class_name(target))
    if output in ("classes", "spans", "ranking") or (output == "text" and listed(target) is not None):
        target = read_target(target, Reading(output, "", name, signature.class_names), inputs, where)
    if output == "classes":
        place = {n: i for i, n in enumerate(signature.class_names)}
        target = tuple(sorted(target, key=lambda n: (place.get(n, len(place)), n)))
    return item.with_target(target)


def _check_labels(splits: Mapping[str, list[Item]], signature: Signature) -> None:
    if signature.output not in ("class", "classes"):
        return
    if len(signature.classes) < 2:
        only = signature.class_names[0]
        raise UsageError(f"the only class is {only!r}: a classification task needs at least two classes")
    known = dict.fromkeys(signature.class_names)
    for split, items in splits.items():
        for item in items:
            names = item._target if isinstance(item._target, tuple) else (item._target,)
            unknown = [name for name in names if name not in known] if item.labelled else []
            if unknown:
                raise UsageError(
                    f"{split} item {item.id!r} has label {unknown[0]!r}, which is not one of the classes "
                    f"({', '.join(list(known)[:8])}{', ...' if len(known) > 8 else ''})"
                )
