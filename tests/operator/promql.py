"""Which figures and labels a PromQL expression names; enough of its grammar for that."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STRING = re.compile(r'"[^"]*"')
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
_GROUP = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "group_left", "group_right", "by", "without", "on"})


@dataclass(frozen=True, slots=True)
class Named:
    """metrics: the series. labels: that are asked of each. grouped: by which the whole is grouped."""

    metrics: frozenset[str]
    labels: dict[str, frozenset[str]]
    grouped: frozenset[str]


def named(expression: str) -> Named:
    text = _STRING.sub('""', expression)
    labels: dict[str, frozenset[str]] = {}
    for name, matchers in _SELECTOR.findall(text):
        labels[name] = labels.get(name, frozenset()) | frozenset(_WORD.findall(matchers))
    grouped = frozenset(word for group in _GROUP.findall(text) for word in _WORD.findall(group))
    rest = re.sub(r"\[[^]]*\]", " ", _GROUP.sub(" ", re.sub(r"\{[^}]*\}", " ", text)))
    rest = re.sub(r"\b\d[\w.-]*", " ", rest)  # numbers: 1e-9
    found = {match.group() for match in _WORD.finditer(rest) if not re.match(r"\s*\(", rest[match.end() :])} - _WORDS
    return Named(frozenset(found), labels, grouped)
