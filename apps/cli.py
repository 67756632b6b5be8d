"""`trackime-apps`: one command per application, imported when it is run.

Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted (Ctrl-C). Errors are one line on stderr.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from trackime.errors import InputError, TrackimeError

_OK, _FAILED, _USAGE, _INTERRUPTED = 0, 1, 2, 130

_COMMANDS = {
    "track": ("trackime_apps.commands.track:command", "Track points through a video: tracks and an overlay."),
    "vos": (
        "trackime_apps.commands.vos:command",
        "Segment objects from a mask or clicks: masks, overlay.",
    ),
    "interpolate": (
        "trackime_apps.commands.interpolate:command",
        "Interpolate: another frame rate, slow motion.",
    ),
    "depth": ("trackime_apps.commands.depth:command", "Estimate consistent depth, cameras and a point cloud."),
    "demo": (
        "trackime_apps.commands.demo:command",
        "Render a synthetic world, run every application on it, score them against its truth.",
    ),
    "models": ("trackime_apps.commands.models:command", "List, fetch, verify and locate checkpoints."),
    "doctor": ("trackime_apps.commands.doctor:command", "Check the installation: devices, codecs, trackers, extras."),
}
"""Name to (module:command, one line of help). The help is here so that listing it imports no application."""


class _Applications(click.Group):
    """Imports a command's module only when the command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}: expected one of {', '.join(_COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, on: bool) -> None:
    if on:
        from importlib.metadata import version  # loads the parser of e-mail headers

        click.echo(f"trackime {version('trackime')}")
        ctx.exit()


@click.group(cls=_Applications, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """Long-term point tracks at a video's own resolution: depth, interpolation and object masks from them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: what was typed after the program's name; None: the process's own.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    state = {"debug": False, "typed": typed}
    handler = _log_to_stderr("--quiet" in typed)
    try:
        code = cli.main(typed, prog_name="trackime-apps", standalone_mode=False, obj=state)
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
        return code if isinstance(code, int) else _OK
    except Exception as error:
        if state["debug"] and not isinstance(error, click.ClickException | click.Abort):
            logging.getLogger("trackime_apps").critical("", exc_info=error)
        return _report(error)
    except KeyboardInterrupt:
        return _say("interrupted", _INTERRUPTED)
    finally:
        logging.getLogger().removeHandler(handler)


def _log_to_stderr(quiet: bool) -> logging.Handler:
    """Warnings of the library on stderr, one line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("trackime-apps: %(message)s"))
    handler.setLevel(logging.ERROR if quiet else logging.WARNING)
    logging.getLogger().addHandler(handler)
    return handler


def _report(error: Exception) -> int:
    """Print one line about the error; the exit code it means."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return _USAGE
    if isinstance(error, BrokenPipeError):
        # The reader has gone: there is nothing to print, nor for the interpreter to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _FAILED
    return _say(*explain(error))


def explain(error: Exception) -> tuple[str, int]:
    """The message of an error, and the exit code it means."""
    if isinstance(error, click.Abort):  # what click makes of Ctrl-C
        return "interrupted", _INTERRUPTED
    if isinstance(error, click.UsageError):
        place = error.ctx.command_path if error.ctx else "trackime-apps"
        return f"{error.format_message()} (see {place} --help)", _USAGE
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, InputError):
        return str(error), _USAGE
    if isinstance(error, TrackimeError):
        return str(error), _FAILED
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory: a smaller --chunk or fewer points need less", _FAILED
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error), _FAILED
    return f"unexpected {type(error).__name__}: {error} (--debug shows where)", _FAILED


def _say(message: str, code: int) -> int:
    click.echo(f"trackime-apps: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
