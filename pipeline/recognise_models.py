"""The recogniser's models: which there are, where they lie, and fetching them from the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.hub import fetch as hub_files
from pipeline.hub.client import Patience
from pipeline.hub.fetch import FetchError, Source, Step

FETCH_COMMAND = ".venv/bin/python run.py models fetch asr"

NAMES = ("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en", "large-v3", "large-v3-turbo")
"""Models by name; those with .en know English only, and know it better."""

_NEEDED = ("config.json", "model.bin", "tokenizer.json")
_VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
_OPTIONAL = (*_VOCABULARIES, "preprocessor_config.json")
_ELSEWHERE = {"large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo"}


class ModelMissing(Exception):
    """The model is not there, or not whole; str() says what to do."""


def find(model: str, models: Path) -> Path:
    """The folder of a model in faster-whisper's format: a path, or a name that is looked for in `models`.

    Raises ModelMissing.
    """
    by_name = _by_name(model)
    folder = _folder(model, models) if by_name else Path(model).expanduser()
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        missing.append(_VOCABULARIES[0])
    if missing:
        how = f"get it with: {FETCH_COMMAND}" if by_name else "it is not a model of faster-whisper"
        raise ModelMissing(f"{folder} lacks {', '.join(missing)}; {how}")
    return folder


def fetch(
    model: str,
    models: Path,
    report: Callable[[Step], None],
    *,
    endpoint: str | None = None,
    patience: Patience | None = None,
) -> Path:
    """Make sure `models` holds a model: one of NAMES, or the hub's owner/name of another in faster-whisper's format;
    gives its folder. What is there stays, what was cut off is resumed; each file is held against the hub's hash of it.

    endpoint: HF_ENDPOINT unless given. Blocking. Raises FetchError.
    """
    if not _by_name(model):
        raise FetchError(
            f"{model} is a folder; models are fetched by name: {', '.join(NAMES)}, or owner/name of the hub"
        )
    folder = _folder(model, models).absolute()
    repo = model if "/" in model else _ELSEWHERE.get(model, f"Systran/faster-whisper-{model}")
    wanted = [(name, False) for name in _NEEDED] + [(name, True) for name in _OPTIONAL]
    sources = [Source(repo, name, f"{folder.name}/{name}", optional=optional) for name, optional in wanted]

    def tell(step: Step) -> None:
        file = folder.parent / step.file
        if not (step.over and file.name in _OPTIONAL and not file.is_file()):  # each model has its own of them
            report(step)

    hub_files.fetch(
        folder.parent,
        sources,
        tell,
        what=f"the model {model}",
        command=f"{FETCH_COMMAND} --model {model}",
        endpoint=endpoint,
        patience=patience,
    )
    try:
        return find(str(folder), models)
    except ModelMissing as error:
        raise FetchError(str(error)) from error


def _by_name(model: str) -> bool:
    return not model.startswith(("/", "~", "."))


def _folder(model: str, models: Path) -> Path:
    return models / model.replace("/", "--")
