"""A loop over time as one GPU kernel: each thread takes some elements through all steps.

The step is any function of JAX that does the same to each element. It is traced for a block of
elements; what depends on fixed values alone, such as the exponentials of time constants, is
computed before, outside of the kernel, as a scan would have it. So spikes are those of the scan,
bit by bit. Values of the next steps are read while the present ones are computed.

Written in Pallas, for its Triton lowering. Where JAX has it no more, or cannot lower or compile a
step, there is no kernel, and the caller scans.

Reference: jax.experimental.pallas.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal
from jax.typing import ArrayLike

_SMALL, _LARGE, _MANY = 128, 512, 2**19  # elements of a block, and from how many on it is large
_AHEAD = {_SMALL: 8, _LARGE: 4}  # steps that are read at once
# What does the same to each element; and, on a mesh, what only says where elements are.
_BY_ELEMENT = frozenset(
    "abs add and ceil clamp convert_element_type copy cos div eq exp exp2 expm1 floor ge gt "
    "integer_pow le log log1p logistic lt max min mul ne neg not or pow rsqrt select_n sign sin "
    "sqrt square stop_gradient sub tanh xor".split()
)
_AS_IT_IS = ("reshard",)
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr"} | dict.fromkeys(
    ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"), "call_jaxpr"
)


def loop(
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    fixed: Any,
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
    interpret: bool = False,
) -> Callable[[Any, Any, Any], Any] | None:
    """Returns a loop over time as one kernel, a function of `fixed`, `carry` and `xs`.

    None where there can be none: the step does not do the same to each element, or arrays are not
    of one shape, or this JAX makes no such kernel of it.

    Args:
        step, fixed, carry, xs, reverse: as in `time_loop.over_time`.
        interpret: whether it is run by JAX on any device, to be tested.
    """
    shape, steps = _shape_of(carry, xs)
    if shape is None or not _fit(shape, fixed):
        return None
    size = math.prod(shape)
    block = _LARGE if size >= _MANY else _SMALL
    few, all_of = (_traced(step, fixed, carry, xs, n) for n in (block, size))
    if few is None or all_of is None:
        return None
    run = partial(_run, few, all_of, shape, steps, block, reverse, interpret)
    given = jax.tree.map(_struct, (fixed, carry, xs))
    kinds = tuple((leaf.dtype.name, leaf.ndim > 0) for leaf in jax.tree.leaves(given))
    asked = _Asked(few.text, block, reverse, kinds, partial(_compiles, run, given))
    return run if interpret or _compiles_once(asked) else None


def _shape_of(carry: Any, xs: Any) -> tuple[tuple[int, ...] | None, int]:
    """The one shape of a step's arrays, or None; and the number of steps."""
    states, sent = jax.tree.leaves(carry), jax.tree.leaves(xs)
    if not states or not sent or sent[0].ndim == 0:
        return None, 0
    shape, steps = states[0].shape, sent[0].shape[0]
    alike = all(s.shape == shape for s in states) and all(x.shape == (steps, *shape) for x in sent)
    words = all(leaf.dtype.itemsize == 4 for leaf in (*states, *sent))
    return (shape if alike and words and steps * math.prod(shape) else None), steps


def _fit(shape: tuple[int, ...], fixed: Any) -> bool:
    """Whether what is fixed is a number, or stretches to the shape of a step."""
    for leaf in map(jnp.shape, jax.tree.leaves(fixed)):
        axes = zip(leaf[::-1], shape[::-1], strict=False)
        if len(leaf) > len(shape) or any(n not in (1, of) for n, of in axes):
            return False
    return True


class _Traced:
    """A step for so many elements: what is known before, and what each step does.

    Attributes:
        fixed, carry, x: variables of the step's arguments.
        before: equations of what is fixed.
        within: equations of a step.
        known: variables that the steps take from what was computed before.
        carried, kept: variables of the next carry, and of what a step makes.
        tree: the tree of what a step makes.
        text: all equations, written out.
        whole: whether all that a step makes depends on its elements, and so is of their shape.
    """

    def __init__(self, closed: Any, numbers: tuple[int, int], tree: Any) -> None:
        jaxpr, (fixed, carry) = closed.jaxpr, numbers
        self.fixed = jaxpr.invars[:fixed]
        self.carry = jaxpr.invars[fixed : fixed + carry]
        self.x = jaxpr.invars[fixed + carry :]
        varies = {*self.carry, *self.x}
        self.before: list[Any] = []
        self.within: list[Any] = []
        for eqn in jaxpr.eqns:
            inside = any(not isinstance(v, Literal) and v in varies for v in eqn.invars)
            (self.within if inside else self.before).append(eqn)
            varies |= set(eqn.outvars) if inside else set()
        self.carried, self.kept = jaxpr.outvars[:carry], jaxpr.outvars[carry:]
        used = [v for eqn in self.within for v in eqn.invars] + jaxpr.outvars
        known = (v for v in used if not isinstance(v, Literal) and v not in varies)
        self.known = list(dict.fromkeys(known))
        self.tree = tree
        self.text = str(closed)
        self.whole = all(not isinstance(v, Literal) and v in varies for v in self.kept)


def _traced(step: Any, fixed: Any, carry: Any, xs: Any, size: int) -> _Traced | None:
    """A step traced for so many elements; None where it does not do the same to each."""

    def flat(leaf: Any, lead: int = 0) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((size,) if jnp.ndim(leaf) > lead else (), jnp.result_type(leaf))

    fixed, carry = jax.tree.map(flat, (fixed, carry))
    x = jax.tree.map(partial(flat, lead=1), xs)
    closed, (after, kept) = jax.make_jaxpr(step, return_shape=True)(fixed, carry, x)
    whole = all(leaf.shape == (size,) for leaf in jax.tree.leaves((after, kept)))
    if closed.consts or not (whole and _by_element(closed.jaxpr)):
        return None
    numbers = len(jax.tree.leaves(fixed)), len(jax.tree.leaves(carry))
    traced = _Traced(closed, numbers, jax.tree.structure(kept))
    return traced if traced.whole else None


def _by_element(jaxpr: Any) -> bool:
    """Whether equations do the same to each element."""
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name in _CALLS:
            inner = eqn.params[_CALLS[name]]
            if not _by_element(getattr(inner, "jaxpr", inner)):
                return False
        elif name == "broadcast_in_dim":
            if eqn.invars[0].aval.shape not in ((), eqn.outvars[0].aval.shape):
                return False
        elif name not in _BY_ELEMENT and name not in _AS_IT_IS:
            return False
    return True


def _evaluate(eqns: Sequence[Any], values: dict[Any, Any]) -> dict[Any, Any]:
    """Computes equations, calls within them opened; returns all values."""
    for eqn in eqns:
        given = [_value(values, v) for v in eqn.invars]
        name = eqn.primitive.name
        if name in _CALLS:
            inner = eqn.params[_CALLS[name]]
            inner, consts = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
            variables = (*inner.constvars, *inner.invars)
            within = _evaluate(inner.eqns, dict(zip(variables, (*consts, *given), strict=True)))
            made = [_value(within, v) for v in inner.outvars]
        elif name in _AS_IT_IS or (
            name == "broadcast_in_dim" and jnp.ndim(given[0]) == len(eqn.params["shape"])
        ):
            made = given
        else:
            made = eqn.primitive.bind(*given, **eqn.params)
            made = made if eqn.primitive.multiple_results else [made]
        values |= zip(eqn.outvars, made, strict=True)
    return values


def _value(values: dict[Any, Any], variable: Any) -> Any:
    return variable.val if isinstance(variable, Literal) else values[variable]


def _run(
    few: _Traced, all_of: _Traced, shape: tuple[int, ...], steps: int, block: int,
    reverse: bool, interpret: bool, fixed: Any, carry: Any, xs: Any,
) -> Any:  # fmt: skip
    """Computes what is fixed, and runs the kernel."""
    size = math.prod(shape)
    flat = [
        leaf if leaf.ndim == 0 else jnp.broadcast_to(leaf, shape).reshape(size)
        for leaf in map(jnp.asarray, jax.tree.leaves(fixed))
    ]
    values = _evaluate(all_of.before, dict(zip(all_of.fixed, flat, strict=True)))
    known = [jnp.asarray(values[v]) for v in all_of.known]
    states = [leaf.reshape(size) for leaf in jax.tree.leaves(carry)]
    sent = [leaf.reshape(steps, size) for leaf in jax.tree.leaves(xs)]
    varying = getattr(jax.typeof(sent[0]), "vma", None)
    out = [
        jax.ShapeDtypeStruct((steps, size), v.aval.dtype, **({"vma": varying} if varying else {}))
        for v in few.kept
    ]
    kernel = partial(_kernel, few, size, steps, block, reverse, (len(known), len(states)))
    made = _pallas_call(kernel, out, -(-size // block), interpret)(*known, *states, *sent)
    return jax.tree.unflatten(few.tree, [leaf.reshape(steps, *shape) for leaf in made])


def _pallas_call(kernel: Any, out: list[Any], programs: int, interpret: bool) -> Any:
    from jax.experimental import pallas
    from jax.experimental.pallas import triton

    settings: Any = {"interpret": True}
    if not interpret:
        settings = {"compiler_params": triton.CompilerParams(num_warps=4, num_stages=1)}
    return pallas.pallas_call(kernel, out_shape=out, grid=(programs,), **settings)


def _kernel(
    few: _Traced, size: int, steps: int, block: int, reverse: bool, numbers: tuple[int, int],
    *refs: Any,
) -> None:  # fmt: skip
    """A program: a block of elements through all steps."""
    from jax.experimental import pallas
    from jax.experimental.pallas import triton

    first, states = numbers[0], sum(numbers)
    sent, made = refs[states : len(refs) - len(few.kept)], refs[len(refs) - len(few.kept) :]
    at = pallas.ds(pallas.program_id(0) * block, block)
    within = pallas.program_id(0) * block + jnp.arange(block) < size
    at_once = min(_AHEAD[block], steps)

    def read(ref: Any) -> jax.Array:
        return ref[...] if ref.ndim == 0 else triton.load(ref.at[at], mask=within, other=0)

    def time(number: ArrayLike) -> Any:
        return steps - 1 - number if reverse else number

    def values_of(chunk: Any) -> list[list[jax.Array]]:
        numbers = [chunk * at_once + i for i in range(at_once)]
        return [
            [
                triton.load(
                    ref.at[jnp.clip(time(n), 0, steps - 1), at], mask=within & (n < steps), other=0
                )
                for ref in sent
            ]
            for n in numbers
        ]

    known = dict(zip(few.known, map(read, refs[:first]), strict=True))

    def some(chunk: Any, loaded: Any) -> Any:
        carry, ready = loaded
        later = values_of(chunk + 1)
        for i, x in enumerate(ready):
            values = dict(zip((*few.carry, *few.x), (*carry, *x), strict=True))
            values = _evaluate(few.within, known | values)
            number = chunk * at_once + i
            for ref, v in zip(made, few.kept, strict=True):
                kept = jnp.broadcast_to(_value(values, v), block)
                place = ref.at[jnp.clip(time(number), 0, steps - 1), at]
                triton.store(place, kept, mask=within & (number < steps))
            carry = [jnp.broadcast_to(_value(values, v), block) for v in few.carried]
        return carry, later

    begin = list(map(read, refs[first:states]))
    lax.fori_loop(0, -(-steps // at_once), some, (begin, values_of(0)))


def _struct(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _compiles(run: Any, given: Any) -> bool:
    """Whether JAX makes a kernel of it; where not, the reason is told once."""
    try:
        jax.jit(run).lower(*given).compile()
    except Exception as error:  # whatever a lowering does not know, on any version of JAX
        _tell(f"{type(error).__name__}: {error}".splitlines()[0])
        return False
    return True


@dataclass(frozen=True)
class _Asked:
    """Whether a kernel is made of a step: the same of any sizes, and for all loops that take it.

    Attributes:
        step: its equations, for a block.
        block: elements of a block.
        reverse: whether the last step comes first.
        kinds: type of each array, and whether it is more than a number.
        answer: compiles it, to see.
    """

    step: str
    block: int
    reverse: bool
    kinds: tuple[tuple[str, bool], ...]
    answer: Callable[[], bool] = field(compare=False)


@lru_cache(maxsize=256)
def _compiles_once(asked: _Asked) -> bool:
    return asked.answer()


@lru_cache(maxsize=8)
def _tell(reason: str) -> None:
    import warnings

    warnings.warn(f"loops over time are scans, as no GPU kernel is made: {reason}", stacklevel=2)
