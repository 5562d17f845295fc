"""The blocking way to make an avatar, for a command line: no server, no event loop to own, a callback for a bar."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from avatars.builder import AvatarBuilder, Prepare
from avatars.errors import AvatarError
from avatars.record import AvatarRecord, BuildRequest
from avatars.stages import BuildSettings
from avatars.store import AvatarStore


def create(
    store: AvatarStore,
    settings: BuildSettings,
    prepare: Prepare | None,
    avatar_id: str,
    video: Path,
    on_progress: Callable[[AvatarRecord], None],
    *,
    tutor_id: str = "",
    apply_blur: bool = False,
    consent: bool = False,
) -> AvatarRecord:
    """Make an avatar of `video` (copied, left where it is); gives its record when it is ready.

    on_progress: given the record at each step (its `stage`, and `progress` 0..1). A server may be running on the same
    folder. Raises AvatarError; then, and when interrupted from the keyboard, nothing of it stays.
    """
    request = BuildRequest(
        avatar_id=avatar_id, video=video.resolve(), tutor_id=tutor_id, apply_blur=apply_blur, consent=consent
    )
    return asyncio.run(_create(AvatarBuilder(store, settings, prepare), request, on_progress))


async def _create(
    builder: AvatarBuilder, request: BuildRequest, on_progress: Callable[[AvatarRecord], None]
) -> AvatarRecord:
    await builder.start_alone()
    try:
        record = await builder.submit(request)
        try:
            async for record in builder.events(request.avatar_id):
                on_progress(record)
        except BaseException:
            await builder.delete(request.avatar_id)
            raise
        if record.error is not None:
            await builder.delete(request.avatar_id)
            raise AvatarError(record.error.code, record.error.message)
        return record
    finally:
        await builder.close()
