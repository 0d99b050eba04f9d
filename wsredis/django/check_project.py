"""``wsredis check-project``: tells what of a project works unchanged, and what to do."""

from __future__ import annotations

import argparse

from wsredis.service.outside import Command, Outside, take_all_words

__all__ = ["CHECK_PROJECT"]


def _run(arguments: argparse.Namespace, outside: Outside) -> int:
    # Imported late: other commands need neither the gateway nor Django.
    from wsredis.auth.sources.django.project import set_up
    from wsredis.django.start_check import ProjectOptions, try_start

    options = ProjectOptions(arguments.args)
    set_up(options.module)
    from twisted.internet import reactor

    from wsredis.django.project_report import Level, describe

    lines = [*describe(options.module, lambda: try_start(options, reactor))]
    for line in lines:
        text = f"{line.level.value:8}{line.text}\n"
        if line.hint:
            text += f"{'':8}-> {line.hint}\n"
        outside.stdout.write(text.encode("utf-8", "backslashreplace"))
    changes = sum(line.level is Level.CHANGE for line in lines)
    works = sum(line.level is Level.WORKS for line in lines)
    outside.stdout.write(f"unchanged: {works}, to be changed: {changes}\n".encode())
    outside.stdout.flush()
    return 1 if changes else 0


#: The command.
CHECK_PROJECT = Command(
    "tell what of a Django project works unchanged, what does not, and what to do",
    "look",
    take_all_words,
    _run,
)
