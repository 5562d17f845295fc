"""What an operator and the operator's tools ask."""

from __future__ import annotations

from server.openapi import answers
from server.openapi.operation import Answer, Header, Operation

OPERATIONS = (
    Operation(
        "GET",
        "/health",
        "health",
        "Operating",
        "open",
        "The server's state in short",
        {200: Answer("Engine, voice, seats.", answers.Health)},
    ),
    Operation(
        "GET",
        "/livez",
        "livez",
        "Operating",
        "open",
        "Does it live?",
        {200: Answer("As long as the server turns.", answers.Alive)},
    ),
    Operation(
        "GET",
        "/readyz",
        "readyz",
        "Operating",
        "open",
        "May students be sent here?",
        {
            200: Answer("They may.", answers.Readiness),
            503: Answer("Not now; `checks` says why.", answers.Readiness, headers=(Header("Retry-After", "Seconds."),)),
        },
    ),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        "Operating",
        "service",
        "Figures for Prometheus",
        {200: Answer("Prometheus' text format.", {"type": "string"}, "text/plain")},
    ),
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        "Operating",
        "open",
        "This document",
        {200: Answer("OpenAPI 3.1.", {"type": "object"})},
    ),
)
