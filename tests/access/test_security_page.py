"""docs/security.md: every threat names the tests that show what stands against it, and they are there."""

from __future__ import annotations

import ast
import re

from server.settings import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| **")]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def there(path: str) -> set[str]:
    """The tests of a file; none if there is no such file."""
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_threat_names_a_test() -> None:
    assert len(ROWS) > 25
    bare = [row for row in ROWS if not NAMED.search(row.split("|")[3])]
    assert not bare, f"these name no test: {bare}"


def test_every_test_that_is_named_is_there() -> None:
    gone = {f"{path}::{name}" for path, name in NAMED.findall(PAGE) if name not in there(path)}
    assert not gone, f"docs/security.md names tests that are not there (renamed? name their successors): {gone}"


def test_one_that_is_not_there_is_noticed() -> None:
    assert "test_no_such" not in there("tests/access/test_security_page.py")
    assert there("tests/access/no_such.py") == set()
    assert "test_every_threat_names_a_test" in there("tests/access/test_security_page.py")
