"""What the fields of a setting may be, read from their annotations wherever a setting is made.

A setting is a frozen dataclass whose annotations say what each field takes, such as
`Annotated[int, Ge(1)]`, `Literal["max", "mean"]` or `tuple[float, ...] | None`. `Checked` looks at
one that is made in Python, `read` makes one of a table in a file; both ask the same readers, so
that what one refuses the other refuses too, in the same words.
"""

from bss2jax.settings.errors import Key, Wrong, key_text, nearest, refused, shown
from bss2jax.settings.readers import UNSET, Reader, Where, read, readers_of, tagged, text_instead

__all__ = [
    "UNSET",
    "Checked",
    "Key",
    "Reader",
    "Where",
    "Wrong",
    "key_text",
    "nearest",
    "read",
    "readers_of",
    "refused",
    "shown",
    "tagged",
    "text_instead",
]


class Checked:
    """The base of settings: a dataclass that derives from it checks its fields when it is made.

    NumPy's numbers become Python's, lists become tuples.

    Raises:
        ValueError: a field is not what its annotation says.
    """

    def __post_init__(self) -> None:
        faults: list[tuple[Key, str]] = []
        for name, reader in readers_of(type(self)).items():  # type: ignore[arg-type]
            try:
                object.__setattr__(self, name, reader.take(getattr(self, name), (name,)))
            except Wrong as error:
                faults.extend(error.faults)
        if faults:
            raise Wrong(*faults)
