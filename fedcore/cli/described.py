"""What can be said of a registered component without asking its author again.

Source, preconditions and knowledge are read from what every component has anyway: docstrings, its
checks, its class. So a new one is described by being written.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any, Final

from fedcore.components.component import Component
from fedcore.components.parameters import REQUIRED, Spec
from fedcore.components.registry import Entry
from fedcore.errors import FedcoreError, ScenarioError
from fedcore.scenario import Scenario

_YEAR: Final = r"\b(?:19|20)\d\d\b"
# up to the end of the sentence that has the year, which an abbreviation does not end
_CITED: Final = re.compile(rf"(.*?{_YEAR}.*?)(?:(?<!\beq)(?<!\bal)\.(?=\s+[A-Z(`]|\s*$)|$)")
_SENTENCE: Final = re.compile(r"(?<=\.)\s+(?=[A-Z])")
_BRACKET: Final = re.compile(rf"\(([^()]*[A-Za-z][^()]*{_YEAR}[^()]*)\)")
_NEEDS: Final = re.compile(r"\bNeeds (.+?)(?=[.;](?:\s|$))")
#: Cohorts that are tried, and how many clients an ordinary one has.
_MOST: Final = 40
_RULES: Final = ("strategy", "preaggregation")
_KNOWLEDGE: Final = {"own": "own", "benign": "omniscient"}


def facts(entry: Entry[Any]) -> list[tuple[str, str]]:
    """(label, text) of what is known beside name, summary and parameters."""
    found = [
        ("source", source(entry)),
        ("knows", knowledge(entry)),
        ("buffers", buffers(entry)),
        ("needs", "; ".join(preconditions(entry)) or None),
        ("refuses", "; ".join(refusals(entry)) or None),
    ]
    return [(label, text) for label, text in found if text is not None]


def source(entry: Entry[Any]) -> str | None:
    """Where the component comes from, as one line; None where nothing says so.

    The sentence behind ``Source:`` in the docstring of its class; else the first sentence with a
    year in that of its module, then of its class, or what stands there in brackets; else what does
    in the summary.
    """
    cls = entry.part or entry.component
    own, module = _doc(cls), _doc(sys.modules.get(getattr(cls, "__module__", ""), None))
    if (at := own.find("Source:")) >= 0:
        return _cited(own[at + len("Source:") :])
    for text in (module, own):
        for paragraph in text.split("\n\n"):
            sentences = _SENTENCE.split(_joined(paragraph))
            for place, sentence in enumerate(sentences):
                if re.search(_YEAR, sentence):
                    bracket = _BRACKET.search(sentence)
                    return bracket[1] if bracket else _cited(" ".join(sentences[place:]))
    bracket = _BRACKET.search(entry.summary)
    return bracket[1] if bracket else None


def knowledge(entry: Entry[Any]) -> str | None:
    """What an attack sees; None of other components.

    Of an attack on updates: own ones, all benign ones (omniscient), or which parameter says so.
    """
    cls = entry.part
    if cls is None or cls.kind != "attack":
        return None
    if not hasattr(cls, "knows"):
        if any(spec.kind == "attack" for spec in cls.specs().values()):
            return "as its parts"
        return "own work" if hasattr(cls, "changed") else "own data"
    spec = cls.specs().get("knows")
    if spec is not None:
        choices = spec.choices or tuple(_KNOWLEDGE)
        usual = "" if spec.default is REQUIRED else f", default {spec.default}"
        return f"{' or '.join(_KNOWLEDGE.get(c, c) for c in choices)} updates (knows{usual})"
    knows = inspect.getattr_static(cls, "knows")
    return f"{_KNOWLEDGE.get(knows, knows)} updates" if isinstance(knows, str) else "as its parts"


def buffers(entry: Entry[Any]) -> str | None:
    """What a strategy makes of BatchNorm's statistics; None of other components and Flower's."""
    cls = entry.part
    if cls is None or cls.kind != "strategy" or cls.foreign:
        return None
    from fedcore.strategies.buffers import rule_of  # it loads torch, --help need not

    return rule_of(cls).what


def preconditions(entry: Entry[Any]) -> list[str]:
    """What a scenario must meet, each as a phrase.

    Sentences of the class that begin with "Needs", and for rules the smallest cohort that one with
    its defaults takes.
    """
    cls = entry.part
    if cls is None:
        return []
    texts = (_joined(_doc(each)) for each in cls.__mro__ if issubclass(each, Component))
    found = [*next(filter(None, map(_NEEDS.findall, texts)), [])]
    part = _made(cls) if cls.kind in _RULES else None
    if part is not None and not _refusals(part, _MOST):
        smallest = next(size for size in range(1, _MOST + 1) if not _refusals(part, size))
        if smallest > 1:
            found.append(f"a cohort of {smallest} or more, with its defaults")
    return found


def refusals(entry: Entry[Any]) -> list[str]:
    """What its checks refuse, each as a phrase: from their docstrings, and from one that is made.

    An ordinary scenario with the defaults of a rule may be refused: then that says why.
    """
    cls = entry.part
    if cls is None:
        return []
    found = []
    for check in ("problems", "data_problems"):
        text = getattr(vars(cls).get(check), "__doc__", None)
        if text:
            first = _joined(text.split("\n\n")[0]).rstrip(".")
            found.append(f"{first[0].lower()}{first[1:]}")
    part = _made(cls) if cls.kind in _RULES else None
    if part is not None:
        for message in _refusals(part, _MOST):
            reason = re.split(r", got |: ", message)[0]
            found.append(reason.removeprefix(f"{cls.kind} {part.name!r} "))
    return found


def _made(cls: type[Component]) -> Component | None:
    """An object of the defaults, with any value for what must be given."""
    values = {name: _example(spec) for name, spec in cls.specs().items()}
    try:
        return cls(**{name: value for name, value in values.items() if value is not None})
    except (FedcoreError, TypeError):  # of values that nothing here can guess
        return None


def _refusals(part: Component, cohort: int) -> list[str]:
    value = (part,) if part.kind == "preaggregation" else part
    try:
        Scenario(**{part.kind: value, "num_clients": cohort, "fraction_train": 1.0})
    except ScenarioError as error:
        return list(error.problems)
    return []


def _example(spec: Spec) -> Any:
    """A value for a parameter that must be given; None for one that need not."""
    if spec.default is not REQUIRED:
        return None
    if spec.choices:
        return spec.choices[0]
    candidates: tuple[Any, ...] = (1, 2, 0.5) if spec.type in (int, float) else ("a.b:C",)
    return next((c for c in map(spec.coerce, candidates) if not spec.problems("", c)), None)


def _doc(owner: Any) -> str:
    """The docstring that is the owner's own, without its indent."""
    text = None if owner is None else vars(owner).get("__doc__")
    return inspect.cleandoc(text) if isinstance(text, str) else ""


def _joined(text: str) -> str:
    return " ".join(text.split())


def _cited(text: str) -> str:
    """The beginning of ``text`` up to the end of the sentence with the year, in its paragraph."""
    paragraph = _joined(text.split("\n\n")[0])
    match = _CITED.match(paragraph)
    return (match[1] if match else paragraph).strip().rstrip(".")


def values_of(spec: Spec) -> str:
    """Admissible values, short: ``integer >= 1``, ``number in [0, 1)``, ``yes or no``."""
    if spec.choices:
        return "|".join(spec.choices)
    kinds = {int: "integer", float: "number", bool: "yes or no", str: "name"}
    kind = kinds.get(spec.type, spec.kind or "")
    if spec.sequence:
        kind = f"tuple of {kind}"
    if spec.pair:
        kind += " or pair"
    return f"{kind} {spec.range}".rstrip()


def default_of(value: Any) -> str:
    """A default as it is listed: ``required``, ``default none``, ``default 0.2``."""
    if value is REQUIRED:
        return "required"
    if isinstance(value, bool):
        return "default yes" if value else "default no"
    return "default none" if value is None else f"default {value}"
