"""Who a tutor is to its model: what it is told before every conversation, and which voice and model are its own."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.history import MARK

DEFAULT = "You are a patient, friendly tutor. You explain one thing at a time and check that the student follows."

_SPOKEN = (
    "Your words are spoken aloud to the student, so write only what can be heard: plain sentences, no headings, lists, "
    "tables, formulas, code or emoji. Begin with one short sentence of at most six words. Keep an answer under 120 "
    f'words unless the student asks for more. A turn of yours that ends with "{MARK}" was interrupted: the student '
    "heard only the words before that mark. Never write the mark yourself."
)


@dataclass(frozen=True, slots=True)
class Persona:
    """text: who the tutor is, in words. language: None: the student's. voice, model: None: the usual ones."""

    text: str = DEFAULT
    language: str | None = None
    voice: str | None = None
    model: str | None = None

    @property
    def prompt(self) -> str:
        """The system prompt."""
        language = self.language or "the language that the student uses"
        return f"{self.text.strip()}\n\nAnswer in {language}. {_SPOKEN}"
