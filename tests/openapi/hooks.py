"""For schemathesis: how a body that is no JSON is written."""

from __future__ import annotations

import schemathesis


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def sdp(context: schemathesis.SerializationContext, value: object) -> bytes:
    return str(value).encode(errors="replace")
