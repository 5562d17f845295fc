"""The ready-made sample tutor: made once, the ordinary way, so that the first visitor can talk at once."""

from __future__ import annotations

from pathlib import Path

from avatars.errors import AvatarError
from avatars.record import BuildRequest
from avatars.store import AvatarStore
from server.settings import ROOT

SAMPLE_ID = "sample"
PICTURE = ROOT / "static" / "sample" / "tutor.jpg"
_MARK = ".sample-made"


def sample_order(store: AvatarStore, root: Path) -> BuildRequest | None:
    """The order for the sample avatar, or None when it was made before: deleted by its owner, it does not come back."""
    if (root / _MARK).exists() or not PICTURE.is_file():
        return None
    try:
        store.get(SAMPLE_ID)
    except AvatarError:
        return BuildRequest(avatar_id=SAMPLE_ID, tutor_id=SAMPLE_ID, video=PICTURE, consent=True)
    return None


def sample_made(root: Path) -> None:
    """Remember that the sample was made in this avatars folder."""
    (root / _MARK).touch()
