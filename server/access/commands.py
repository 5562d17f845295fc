"""`run.py keys`: makes, lists and removes API keys."""

from __future__ import annotations

import argparse
import sys
import time

from server.access import key_file
from server.access.browsers import is_loopback
from server.access.key_file import KeyFileError
from server.access.roles import DUTIES, Role
from server.access.start import command
from server.settings import Settings


def keys(settings: Settings, arguments: argparse.Namespace) -> int:
    """Does what was asked; gives the exit status. A running server takes the change over by itself."""
    try:
        if arguments.action == "add":
            return _add(settings, arguments.role, arguments.name)
        if arguments.action == "remove":
            return _remove(settings, arguments.id)
        return _list(settings)
    except KeyFileError as error:
        print(error, file=sys.stderr)
        return 1


def _add(settings: Settings, role: Role, name: str) -> int:
    key, shown = key_file.add(settings.access.keys_file, role, name)
    print(shown)  # alone on standard output, for KEY=$(…)
    print(
        f"This is the key {key.id}, role {role}: {DUTIES[role]}.\n"
        'It is shown this once; keep it safe. It is sent as "Authorization: Bearer KEY".',
        file=sys.stderr,
    )
    return 0


def _list(settings: Settings) -> int:
    found = key_file.read(settings.access.keys_file).keys
    for key in found:
        print(f"{key.id}  {key.role:8} {time.strftime('%Y-%m-%d', time.gmtime(key.created_at))}  {key.name}".rstrip())
    if settings.server.api_key.get_secret_value():
        print("(server.api_key is an admin's key, too.)", file=sys.stderr)
    elif not found:
        print(f"There are no keys yet. Make one: {command('keys add --role admin')}", file=sys.stderr)
    return 0


def _remove(settings: Settings, key_id: str) -> int:
    gone = key_file.remove(settings.access.keys_file, key_id)
    print(f"The key {gone.id} ({gone.role}{', ' + gone.name if gone.name else ''}) opens nothing any more.")
    if not key_file.read(settings.access.keys_file).keys and not settings.server.api_key.get_secret_value():
        after = "answers everybody on this machine" if is_loopback(settings.server.host) else "does not start"
        print(f"That was the last one: without a key the server {after}.", file=sys.stderr)
    return 0
