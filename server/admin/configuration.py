"""The configuration in force as it may be shown: every value, no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from server.settings import Settings

MASK = "********"
_SECRET_NAME = re.compile(r"(api_key|password|passwd|secret|token|credential)", re.IGNORECASE)
_NOT_SECRET = re.compile(r"(tokens|_seconds|_minutes|_days)$")
_CREDENTIALS = re.compile(r"^([a-z][a-z0-9+.-]*:(?://)?)[^/?#\s]*@", re.IGNORECASE)


def shown(settings: Settings) -> dict[str, Any]:
    """{"settings": {group: {key: value}}, "changed": ["group.key", …]}: what differs from its default."""
    values = {group: _plain(getattr(settings, group), group) for group in Settings.model_fields}
    defaults = settings.defaults()
    changed = []
    for group in Settings.model_fields:
        own, usual = getattr(settings, group), getattr(defaults, group)
        changed += [f"{group}.{key}" for key in type(own).model_fields if getattr(own, key) != getattr(usual, key)]
    return {"settings": values, "changed": changed}


def _plain(value: Any, name: str) -> Any:
    """As JSON takes it. name: of the setting, whose value is masked if it tells of a secret."""
    match value:
        case BaseModel():
            return {key: _plain(getattr(value, key), key) for key in type(value).model_fields}
        case SecretStr():
            secret = value.get_secret_value()
            if name == "database_url":  # where the records are is worth knowing; only its password is secret
                return without_password(secret)
            return MASK if secret else ""
        case dict():
            return {str(key): _plain(item, str(key)) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item, name) for item in value]
        case Path():
            return str(value)
        case str():
            if value and _SECRET_NAME.search(name) and not _NOT_SECRET.search(name):
                return MASK
            return without_password(value)
        case bool() | int() | float() | None:
            return value
    return str(value)


def without_password(text: str) -> str:
    """The text, with what an address carries before its @ masked: postgresql://u:p@h/d -> postgresql://********@h/d."""
    return _CREDENTIALS.sub(rf"\1{MASK}@", text)
