#!/usr/bin/env python3
"""The one entry point: serve, and small commands for operators (avatar, keys, models, doctor, bench)."""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads are placed by us; spinning library pools only take cores away


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    from server import commands

    return commands.run(arguments)


def parser() -> argparse.ArgumentParser:
    """The command line. Every command takes --config; `serve` also takes the settings people change most."""
    top = argparse.ArgumentParser(prog="run.py", description="Lectern: a live tutor with a teacher's face")
    top.add_argument("--config", default=None, metavar="FILE", help="settings file (default: config.yaml here)")
    commands = top.add_subparsers(dest="command", required=True)

    serve = commands.add_parser("serve", help="run the server")
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1: this machine only)")
    serve.add_argument("--port", type=int, help="port to listen on (default 9000)")

    avatar = commands.add_parser("avatar", help="make, list and delete avatars").add_subparsers(
        dest="action", required=True
    )
    create = avatar.add_parser("create", help="make an avatar of a video or a portrait picture")
    create.add_argument("id", help="its name: letters, digits, . _ - (at most 64)")
    create.add_argument("video", help="mp4, mov, mkv or webm; or a JPEG or PNG portrait")
    create.add_argument("--tutor", default=None, help="the tutor it belongs to (default: the same name)")
    create.add_argument("--blur", action="store_true", help="blur the background behind the person")
    take = avatar.add_parser("import", help="take over an avatar made by MuseTalk's own scripts")
    take.add_argument("id", help="its name: letters, digits, . _ - (at most 64)")
    take.add_argument(
        "folder", help="results/…/avatars/NAME: full_imgs/, mask/, coords.pkl, mask_coords.pkl, latents.pt"
    )
    take.add_argument("--tutor", default=None, help="the tutor it belongs to (default: the same name)")
    take.add_argument("--version", choices=["1.5", "1.0"], help="the model it was made for, if the folder does not say")
    own = avatar.add_parser("musetalk", help="show or change an avatar's own settings for MuseTalk")
    own.add_argument("id")
    own.add_argument(
        "changes",
        nargs="*",
        metavar="NAME=VALUE",
        help="e.g. bbox_shift=5 or parsing=raw; NAME= takes the server's again",
    )
    avatar.add_parser("list", help="list the avatars and their states")
    delete = avatar.add_parser("delete", help="delete an avatar")
    delete.add_argument("id")
    prune = avatar.add_parser(
        "prune", help="delete the avatars that nobody has used for long; without --yes only say which"
    )
    prune.add_argument(
        "--unused-days", type=float, required=True, metavar="N", help="unused for so many days (1 at least)"
    )
    prune.add_argument("--yes", action="store_true", help="delete them; else nothing is deleted")
    prune.add_argument("--include-sample", action="store_true", help="the sample tutor's, too")
    prune.add_argument("--include-linked", action="store_true", help="those of tutors, too: linked, or made for one")

    keys = commands.add_parser("keys", help="make, list and remove the API keys").add_subparsers(
        dest="action", required=True
    )
    new = keys.add_parser("add", help="make a key and print it, this once")
    new.add_argument(
        "--role",
        required=True,
        choices=["admin", "service", "teacher"],
        help="admin: everything; service: the school's own web server; teacher: avatars, tutors, trying them out",
    )
    new.add_argument("--name", default="", help="whose it is, for the list")
    keys.add_parser("list", help="list the keys, without their secrets")
    gone = keys.add_parser("remove", help="remove a key: it opens nothing any more")
    gone.add_argument("id", help="what stands between lk_ and the second _")

    models = commands.add_parser("models", help="fetch models").add_subparsers(dest="action", required=True)
    fetch = models.add_parser("fetch", help="fetch models that are not in the repository")
    fetch.add_argument("what", choices=["faces", "musetalk", "asr"])
    fetch.add_argument(
        "--base", metavar="DIR", help="musetalk: where to (default: lipsync.musetalk_base, else models/musetalk here)"
    )
    fetch.add_argument("--model", metavar="NAME", help="asr: which one (default: listening.model)")
    fetch.add_argument(
        "--version", choices=["1.5", "1.0"], action="append", help="musetalk: this version only (default: both, 7 GB)"
    )

    commands.add_parser("doctor", help="what is installed, what works here, and how to mend what doesn't")

    bench = commands.add_parser("bench", help="measure, and print the table of docs/benchmarks.md")
    bench.add_argument("names", nargs="*", help="single measurements (default: all)")
    return top


if __name__ == "__main__":
    sys.exit(main())
