"""What a person sees of a training: what it is, then epochs, then what came out."""

import math
import textwrap
import time
from collections import Counter
from types import TracebackType

import jax

from bss2jax.config import Config
from bss2jax.experiment import Experiment
from bss2jax.mapping.cost import estimate
from bss2jax.networks.graph import Network
from bss2jax.networks.layer import kind_of
from bss2jax.networks.rungs import RUNGS
from bss2jax.training import loop
from bss2jax.training.devices import described
from bss2jax.training.evaluate import Result
from bss2jax.training.phase import batch_of, steps_per_epoch, total_steps
from bss2jax.window import Window

_REFRESH = 0.5  # seconds; reading the loss waits for the device
_LINES = 12  # epochs of a phase that stay on a terminal
_CUT = 0.01  # share of values below 0 that first layers take for 0, above which it is said


def introduce(config: Config, network: Network, window: Window) -> None:
    """Says what is going to be trained, before any data are read."""
    chip = config.chip.file or f"seed {config.chip.seed}, {config.mismatch.preset}"
    say_what(config.name, config.description, window, "bold cyan")
    for name, text in (
        ("network", _network_line(network)),
        ("plan", plan_line(network)),
        ("chip", chip),
    ):
        say_what(name, text, window)


def introduce_data(experiment: Experiment, window: Window) -> None:
    """Says what the data are, once they are there."""
    counts = [len(s.y) for s in (experiment.training, experiment.validation, experiment.test)]
    size = "x".join(map(str, experiment.task.network.input.size))
    text = "{} of {}: {:,} samples to train, {:,} to validate, {:,} to test".format(
        experiment.config.data.source, size, *counts
    )
    say_what("data", text, window)
    if experiment.note:
        say_what("", experiment.note, window)
    if (cut := experiment.cut) > _CUT:
        said = f"warning: {cut:.0%} of the values are below 0, which the first layer takes for 0;"
        window.say((said, "yellow"))
        window.say(("         begin with a layer of kind signs, or lower data.offset", "yellow"))
    if experiment.task.mesh is not None:
        say_what("devices", described(experiment.task.mesh), window)


def say_what(name: str, text: str, window: Window, style: str = "cyan") -> None:
    """Says what something is; what 80 columns of a terminal cannot hold goes on below."""
    name = f"{name:8}  "
    lines = [name + text]
    if window.terminal:
        lines = textwrap.wrap(name + text, 80, subsequent_indent=10 * " ") or lines
    window.say((lines[0][: len(name)], style), lines[0][len(name) :])
    for line in lines[1:]:
        window.say(line)


def plan_line(network: Network) -> str:
    """Returns where a network goes on the chip, and what a sample takes there, as one line."""
    if network.misfit:
        return f"floating point only: {network.misfit}"
    if not network.plan.names:
        return "floating point only: no layer has a counterpart on the chip"
    cost, count = estimate(network.plan), network.plan.configurations
    least, most = (1e6 * joules for joules in cost.joules)
    energy = f"{least:.3g}" if least == most else f"{least:.0f} to {most:.0f}"
    return (
        f"{count} configuration{'s' * (count > 1)} of the chip; "
        f"{1e6 * cost.seconds:.0f} µs and {energy} µJ a sample"
    )


def _network_line(network: Network) -> str:
    """The kinds of a network's layers, sizes of those with parameters, and their number."""
    words = [
        f"{kind_of(node.layer)} {node.layer.outputs}"
        if hasattr(node.layer, "outputs")
        else kind_of(node.layer)
        for node in network.nodes
    ]
    if len(", ".join(words)) > 50:
        words = [
            f"{n} {kind}" for kind, n in Counter(kind_of(x.layer) for x in network.nodes).items()
        ]
    shapes = jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0)))
    return f"{', '.join(words)}; {sum(leaf.size for leaf in shapes):,} parameters"


def say_rung(name: str, result: Result, window: Window) -> None:
    """Says what was measured on a rung of the ladder."""
    style = "bold green" if name == "chip" else "bold"
    window.say(f"{name:10}", (f"{result.accuracy:7.2%}", style), f"  {RUNGS[name].meaning}")


class Reporter:
    """Says the progress of one phase. Use it as a context manager.

    Args:
        experiment: the experiment that is trained.
        number: the number of the phase, from 0 on.
        window: the window where it is said.
    """

    def __init__(self, experiment: Experiment, number: int, window: Window) -> None:
        phases, samples = experiment.config.phases, len(experiment.training.y)
        phase = phases[number]
        self._network, self._advised = experiment.task.network, set[str]()
        self._window, self._batch = window, batch_of(phase, samples)
        self._per_epoch, self._steps = steps_per_epoch(phase, samples), total_steps(phase, samples)
        self._epochs = math.ceil(self._steps / self._per_epoch)
        self._next = 0.0
        on = phase.on if isinstance(phase.on, str) else "mixed"
        self._title = f"phase {number + 1}/{len(phases)}"
        epochs = f"{self._epochs} epoch{'s' * (self._epochs > 1)}"
        self._head = f"{self._title} {on}: {epochs} of {self._per_epoch} steps"

    def __enter__(self) -> "Reporter":
        self._window.say()
        self._window.say((self._head, "bold"))
        self._window.say(("epoch    loss  training  validation     time", "dim"))
        self._context = self._window.bar(self._title, self._steps)
        self._bar = self._context.__enter__()
        self._bar.update(0, figures="starting")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def step(self, progress: loop.Progress) -> None:
        """Takes note of a step; the bar's loss and accuracy are the epoch's running means."""
        ends = progress.step % self._per_epoch == 0 or progress.step == self._steps
        if not ends and time.monotonic() < self._next:
            return
        state, seen = progress.state, max(1, int(progress.state.taken)) * self._batch
        figures = _figures(float(state.loss) / seen, float(state.correct) / seen)
        self._bar.update(progress.step, figures="validating" if ends else figures)
        self._next = time.monotonic() + _REFRESH

    def epoch(self, epoch: loop.Epoch) -> None:
        """Says the figures of an epoch; on a terminal those of a dozen stay, the others move on."""
        # A short phase ends before its bar was due: the epoch's figures are the bar's too.
        self._bar.update(epoch.step, figures=_figures(epoch.train_loss, epoch.train_accuracy))
        line = (
            f"{epoch.epoch:5d}  {epoch.train_loss:6.4f}  {epoch.train_accuracy:8.2%}  "
            f"{epoch.validation_accuracy:10.2%}  {epoch.seconds:5.1f} s"
        )
        if epoch.skipped:
            line += f"  {epoch.skipped} steps skipped: not finite"
        every = math.ceil(self._epochs / _LINES)
        stays = epoch.epoch % every == 0 or epoch.step == self._steps or epoch.skipped
        if stays or not self._window.terminal:
            self._window.say(line)
        else:
            self._window.detail(line)
        self._advise(epoch)

    def _advise(self, epoch: loop.Epoch) -> None:
        """Says once of each layer that hardly works what to change."""
        for node in self._network.nodes:
            record = epoch.validation_saturation.get(node.name, {})
            said = node.layer.complaint(record, node.after)
            if said and node.name not in self._advised:
                self._advised.add(node.name)
                self._window.say((f"warning: {node.name} {said}", "yellow"))


def _figures(loss: float, accuracy: float) -> str:
    """What a bar says of a training."""
    return f"loss {loss:.3f}  accuracy {accuracy:.1%}"
