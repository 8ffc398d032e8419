"""One library in a process of its own, which takes some steps whenever it is told to."""

import importlib
import resource
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from workload import Case

TURN = 3  # steps one after the other, as in a training: the first finds cold caches


def asked(connection: Connection, word: str) -> Any:
    """Returns the answer to a word: `turn`, `outputs`; to `end` there is none."""
    connection.send(word)
    return connection.recv()


def serve(connection: Connection, module: str, name: str, case: Case) -> None:
    """Builds a library's training and sends its outputs; then answers words.

    A turn is answered with milliseconds and minor faults of each of its steps. Where the training
    cannot be built, the reason is sent as a sentence.
    """
    try:
        training = getattr(importlib.import_module(module), name)(case)
        connection.send(_host(training.outputs()))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        connection.send(f"{type(error).__name__}: {reason}")
        return
    while (word := connection.recv()) != "end":
        if word == "turn":
            connection.send([_measured(training) for _ in range(TURN)])
        else:
            connection.send(_host(training.outputs()))


def _host(outputs: tuple) -> tuple:
    return tuple(None if each is None else np.asarray(each) for each in outputs)


def _measured(training: Any) -> tuple[float, int]:
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    begin = time.perf_counter()
    training.step()
    elapsed = 1e3 * (time.perf_counter() - begin)
    return elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
