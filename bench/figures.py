"""One measured figure and the table of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """name: what was measured. must: what it has to reach, in words. value: what came out, in words.

    reached: None when there is nothing to reach. note: how it came about (spread, count, conditions).
    """

    name: str
    must: str
    value: str
    reached: bool | None
    note: str = ""


def table(figures: Iterable[Figure]) -> str:
    """A Markdown table, one row a figure."""
    marks = {True: "yes", False: "**no**", None: "–"}
    rows = [("figure", "must reach", "measured", "reached", "note")]
    rows += [(f.name, f.must, f.value, marks[f.reached], f.note) for f in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def spread(values: Sequence[float], unit: str = "ms", digits: int = 0) -> str:
    """ "median (min-max, n)" of a list of measurements."""
    median = statistics.median(values)
    return f"{min(values):.{digits}f}–{max(values):.{digits}f} {unit}, n={len(values)}, median {median:.{digits}f}"
