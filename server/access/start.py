"""Keys and tokens as the settings want them; and the refusal to serve others without a key."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import structlog

from server.access.addresses import networks
from server.access.browsers import is_loopback
from server.access.guard import guard
from server.access.key_file import KeyFileError
from server.access.keys import Keys
from server.access.limiter import Limiter, Rates
from server.access.tokens import Tokens, secret_in
from server.setting_groups import AccessSettings
from server.settings import Settings, SettingsError

log = structlog.get_logger(__name__)


def open_keys(settings: Settings) -> Keys:
    """The keys. Raises SettingsError: their file cannot be used, or others can reach the server and there is no key."""
    try:
        keys = Keys(settings.access.keys_file, settings.server.api_key.get_secret_value())
    except KeyFileError as error:
        raise SettingsError(f"access.keys_file: {error}") from error
    host = settings.server.host
    if not keys.needed and not is_loopback(host):
        raise SettingsError(
            f"server.host: other machines reach this server at {host}, and there is no key yet, so everybody could "
            f"manage it. Make a key, then start again:\n  {command('keys add --role admin')}"
        )
    if not keys.needed and settings.server.allowed_hosts:
        log.warning(
            "open_through_proxy",
            why="server.allowed_hosts names a proxy, and there is no key: who comes through it may manage everything",
        )
    return keys


def open_tokens(access: AccessSettings) -> Tokens:
    """What students' tokens are made with. Raises SettingsError: the secret's file is damaged or open to others."""
    given = access.token_secret.get_secret_value()
    if given:
        return Tokens(given.encode(), access.token_seconds)
    try:
        return Tokens(secret_in(access.token_file), access.token_seconds)
    except ValueError as error:
        raise SettingsError(f"access.token_file: {error}") from error
    except OSError as error:  # sessions do not outlive the server either: a secret of this start only will do
        log.warning("token_secret_not_kept", file=str(access.token_file), why=error.strerror)
        return Tokens.unshared(access.token_seconds)


def open_guard(access: AccessSettings, keys: Keys) -> tuple[Limiter, Any]:
    """What counts requests, and the middleware that asks it."""
    limiter = Limiter(rates(access))
    return limiter, guard(keys, limiter, networks(access.trusted_proxies))


def rates(access: AccessSettings) -> Rates:
    """The limits, as the limiter takes them (also later: Limiter.set)."""
    return Rates(
        access.requests_per_minute, access.sessions_per_minute, access.uploads_per_minute, access.failures_per_minute
    )


def command(arguments: str) -> str:
    """A command of run.py as it can be typed here, for the settings that this process has."""
    script = sys.argv[0] if os.path.basename(sys.argv[0]) == "run.py" else "run.py"
    words = [each.removeprefix(os.getcwd() + os.sep) for each in (sys.executable, script)]
    for word, after in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if word == "--config":
            words += [word, after]
        elif word.startswith("--config="):
            words.append(word)
    return f"{shlex.join(words)} {arguments}"
