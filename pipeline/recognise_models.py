"""The recogniser's models: which there are, where they lie, and fetching them from the hub."""

from __future__ import annotations

from pathlib import Path

FETCH_COMMAND = "python run.py models fetch asr"

NAMES = ("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en", "large-v3", "large-v3-turbo")
"""Models by name; those with .en know English only, and know it better."""

_NEEDED = ("config.json", "model.bin", "tokenizer.json")
_VOCABULARIES = ("vocabulary.json", "vocabulary.txt")


class ModelMissing(Exception):
    """The model is not there, or not whole; str() says what to do."""


def find(model: str, models: Path) -> Path:
    """The folder of a model in faster-whisper's format: a path, or a name that is looked for in `models`.

    Raises ModelMissing.
    """
    given = Path(model).expanduser()
    by_name = model in NAMES or not (given.is_absolute() or model.startswith(("~", ".")))
    folder = models / model.replace("/", "--") if by_name else given
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        missing.append(_VOCABULARIES[0])
    if missing:
        how = f"get it with: {FETCH_COMMAND}" if by_name else "it is not a model of faster-whisper"
        raise ModelMissing(f"{folder} lacks {', '.join(missing)}; {how}")
    return folder
