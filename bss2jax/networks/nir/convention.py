"""What a file of NIR does not say: units, what a spike is, reset, order; and frameworks' habits.

References: the sources of norse 1.1, snnTorch 1.0, sinabs, spyx 1.0 and hxtorch, as they read NIR.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from bss2jax.kernels.neurons.membrane import Integrator
from bss2jax.networks.constants import Reset, Spikes
from bss2jax.settings import nearest

Unit = Literal["s", "ms", "us", "steps"]
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a graph is meant. None: not said, so it must be.

    Attributes:
        spikes: what a spike is: see `networks.Constants`.
        reset: what a spike leaves: see `networks.Constants`.
        unit: the unit of the graph's times.
        order: the order in which a step is computed: see `neurons.lif`.
        start: the potential at which membranes begin: see `networks.Constants`.
        ignored: constants that count as 1: see `networks.Constants`.
    """

    spikes: Spikes | None = None
    reset: Reset | None = None
    unit: Unit | None = None
    order: Integrator = "semi_implicit"
    start: Literal["zero", "leak"] = "zero"
    ignored: tuple[Literal["r", "w_in"], ...] = ()

    def seconds(self, dt: float) -> float:
        """Returns the seconds of the unit of time.

        Args:
            dt: s of a step, which is a unit of some.
        """
        return dt if self.unit == "steps" else _SECONDS[str(self.unit)]


CONVENTIONS = {
    "norse": Convention(spikes="sample", reset="zero", unit="s", start="leak"),
    "snntorch": Convention(spikes="sample", reset="zero", unit="s"),
    "sinabs": Convention(
        spikes="jump", reset="subtract", unit="steps", order="exponential", ignored=("r",)
    ),
    "spyx": Convention(spikes="jump", reset="subtract", unit="s", ignored=("r", "w_in")),
    "hxtorch": Convention(
        spikes="jump", reset="value", unit="ms", order="euler", start="leak", ignored=("w_in",)
    ),
    "jaxsnn": Convention(
        spikes="jump", reset="value", unit="ms", order="exponential", start="leak",
        ignored=("w_in",),
    ),
    "nir": Convention(order="exponential"),
}  # fmt: skip


def meant(convention: str | Convention | None, **said: Any) -> Convention:
    """Returns how a graph is meant: a framework's habits, and what is said besides.

    Args:
        convention: a framework's name, of `CONVENTIONS`; None: all is said.
        **said: fields of `Convention`; None says nothing.

    Raises:
        ValueError: a name is unknown, or something is not said that a file does not say either.
    """
    known: Any = convention
    if convention is None or isinstance(convention, str):
        if (convention or "nir") not in CONVENTIONS:
            raise ValueError(
                f"convention: got {convention!r}{nearest(str(convention), list(CONVENTIONS))}; "
                f"expected one of {', '.join(CONVENTIONS)}"
            )
        known = CONVENTIONS[convention or "nir"]
    whole = replace(known, **{name: value for name, value in said.items() if value is not None})
    for name, kind in (("spikes", Spikes), ("reset", Reset), ("unit", Unit)):
        value = getattr(whole, name)
        if value not in get_args(kind):
            got = "nothing" if value is None else repr(value)
            raise ValueError(
                f"{name}: a NIR file does not say it; got {got}, expected one of "
                f"{', '.join(get_args(kind))}, or the habits of a framework: "
                f"convention={' | '.join(n for n in CONVENTIONS if n != 'nir')}"
            )
    return whole
