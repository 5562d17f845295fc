"""What a reasoning model thinks is not said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.thoughts import Thoughts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Plants eat light.", "Plants eat light."),
        ("<think>The student asks. Hmm.</think>\n\nPlants eat light.", "Plants eat light."),
        ("\n<think>\n\n</think>\n\nPlants.", "Plants."),
        ("<thinking is hard", "<thinking is hard"),
        ("<th", "<th"),
        ("<think>and never stops", ""),
        ("1 < 2 <think>", "1 < 2 <think>"),
        ("<think>a</think>", ""),
        ("", ""),
    ],
)
@given(data=st.data())
def test_however_it_is_cut(text: str, said: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    thoughts = Thoughts()
    got = "".join(thoughts.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))
    assert got + thoughts.finish() == said
