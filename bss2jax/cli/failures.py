"""What the command line says of whatever goes wrong, in one line, and how it then ends."""

import argparse
import contextlib
import os
import sys
import traceback
from signal import SIGPIPE

from bss2jax.cli.arguments import CallError
from bss2jax.runs.signals import Failed, Stopped

_OURS = 70  # EX_SOFTWARE of sysexits.h


def say(text: str) -> None:
    """Prints a line of the command line itself; nowhere, where nobody reads it."""
    with contextlib.suppress(OSError):
        print(f"bss2jax: {text}", file=sys.stderr, flush=True)


def prepare_streams() -> None:
    """Lets what is printed be printed: to closed streams, in letters that a terminal has not."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        if hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="replace")


def prepare_environment(parsed: argparse.Namespace) -> None:
    """Sets what a command needs whatever the environment says: no window, and maybe no device."""
    os.environ["MPLBACKEND"] = "agg"
    if not getattr(parsed, "device", True) and "jax" not in sys.modules:
        os.environ["JAX_PLATFORMS"] = "cpu"


def answer(error: Exception) -> int:
    """Says what went wrong; returns the exit code."""
    if os.environ.get("BSS2JAX_TRACEBACK"):
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        # The reader of our output has gone, as `head` does: not all that was asked for is done.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + SIGPIPE
    if isinstance(error, Stopped):
        say(str(error))
        return 128 + error.signal
    if isinstance(error, Failed):
        say(str(error))
        return 1
    said = _explained(error)
    say(said or _unexplained(error))
    return 2 if said else _OURS


def leave(code: int) -> int:
    """Returns an exit code; one of several processes ends here, with no wait for others."""
    jax = sys.modules.get("jax")
    if code and jax and jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _explained(error: Exception) -> str:
    """What a call, a file, a disk or the environment has caused; empty where none of these has."""
    if isinstance(error, CallError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'output'}: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if not (jax := sys.modules.get("jax")):
        return ""
    try:
        jax.devices()
    except Exception as found:
        platforms = os.environ.get("JAX_PLATFORMS")
        reason = (str(found) or type(found).__name__).splitlines()[0]
        return f"JAX finds no device with JAX_PLATFORMS={platforms}: {reason}; unset it, or set cpu"
    if isinstance(error, jax.errors.JaxRuntimeError) and _of_others(str(error)):
        return (
            f"process {jax.process_index()} of {jax.process_count()} ends, as another one is lost: "
            f"{str(error).splitlines()[0]}; `bss2jax train --resume RUN` goes on from its last "
            "checkpoint"
        )
    if isinstance(error, jax.errors.JaxRuntimeError):
        return f"JAX: {str(error).splitlines()[0]}"
    return ""


def _of_others(text: str) -> bool:
    """Whether what JAX says is of another process of the same run."""
    words = ("Gloo", "NCCL", "peer", "heartbeat", "coordination", "Coordination")
    return sys.modules["jax"].distributed.is_initialized() and any(word in text for word in words)


def _unexplained(error: Exception) -> str:
    """An error of ours: where it happened, and how to see more."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = (str(error).strip() or "no message").splitlines()[0]
    return (
        f"{type(error).__name__}: {text} ({os.path.basename(last.filename)}, line {last.lineno}); "
        "this is an error of bss2jax itself: please report what BSS2JAX_TRACEBACK=1 shows"
    )
