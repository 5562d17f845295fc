"""MuseTalk's files: where the hub has them, and getting those that a version needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.hub import fetch as hub_files
from pipeline.hub.client import Patience
from pipeline.hub.fetch import Report, Source
from pipeline.lipsync.musetalk.installation import FETCH_COMMAND, Version

_MUSETALK, _VAE, _WHISPER = "TMElyralab/MuseTalk", "stabilityai/sd-vae-ft-mse", "openai/whisper-tiny"
# Only weights have a sha256 here: they do not change, while a configuration on `main` may.
OF_VERSION: dict[Version, tuple[Source, ...]] = {
    "1.5": (
        Source(_MUSETALK, "musetalkV15/musetalk.json", "musetalkV15/musetalk.json"),
        Source(
            _MUSETALK,
            "musetalkV15/unet.pth",
            "musetalkV15/unet.pth",
            "7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007",
        ),
    ),
    "1.0": (
        Source(_MUSETALK, "musetalk/musetalk.json", "musetalk/musetalk.json"),
        Source(_MUSETALK, "musetalk/pytorch_model.bin", "musetalk/pytorch_model.bin"),
    ),
}
OF_BOTH = (
    Source(_VAE, "config.json", "sd-vae/config.json"),
    Source(
        _VAE,
        "diffusion_pytorch_model.bin",
        "sd-vae/diffusion_pytorch_model.bin",
        "1b4889b6b1d4ce7ae320a02dedaeff1780ad77d415ea0d744b476155c6377ddc",
    ),
    Source(_WHISPER, "config.json", "whisper/config.json"),
    Source(
        _WHISPER,
        "pytorch_model.bin",
        "whisper/pytorch_model.bin",
        "9607f98a2b22d9e229ae43c52ecea79dcede9e0c5cfae67e8da6eda86d8aac1d",
    ),
    Source(_WHISPER, "preprocessor_config.json", "whisper/preprocessor_config.json"),
    Source(
        "ManyOtherFunctions/face-parse-bisent",
        "79999_iter.pth",
        "face-parse-bisent/79999_iter.pth",
        "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
        optional=True,
    ),
)


def fetch(
    base: Path,
    report: Report,
    *,
    versions: Sequence[Version] = ("1.5", "1.0"),
    endpoint: str | None = None,
    patience: Patience | None = None,
) -> list[str]:
    """Make sure `base`/models holds the files of these versions; see pipeline.hub.fetch."""
    sources = [source for version in OF_VERSION if version in versions for source in OF_VERSION[version]]
    return hub_files.fetch(
        base / "models",
        [*sources, *OF_BOTH],
        report,
        what="MuseTalk's files",
        command=FETCH_COMMAND,
        endpoint=endpoint,
        patience=patience,
    )
