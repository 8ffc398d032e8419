"""Errors of pydantic in the words of TOML: the key, what it got, what was expected."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from bss2jax.config.errors import dotted, nearest, shown
from bss2jax.config.tables import Config

# What to say in the words of TOML, where pydantic has others.
_EXPECTED = {
    "dataclass_type": "a table",
    "dict_type": "a table",
    "tuple_type": "a list",
    "too_short": "{min_length} or more items",
    "too_long": "{max_length} items or fewer",
    "string_too_short": "some text",
}


def explain(error: Mapping[str, Any], tree: dict[str, Any]) -> str:
    """Returns one pydantic error of a config's tree as `key: what it got, what was expected`."""
    path, kind, value = [], error["type"], tree
    for part in error["loc"]:
        # Locations also name the alternatives of a union, which are no keys.
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif not (kind == "missing" and part == error["loc"][-1]):
            continue
        path.append(part)
    key, got = dotted(path), shown(error["input"])
    context = error.get("ctx", {})
    if kind == "missing":
        return f"{key}: missing"
    if kind == "unexpected_keyword_argument":
        known = _known_names(path[:-1], tree)
        return f"{key}: unknown key{nearest(str(path[-1]), known)}; known: {', '.join(known)}"
    if kind == "union_tag_invalid":
        tags = [tag.strip("'") for tag in context["expected_tags"].split(", ") if tag != "'own'"]
        hint = nearest(context["tag"], tags)
        return f"{key}.kind: got {shown(value['kind'])}, expected one of {', '.join(tags)}{hint}"
    if kind == "union_tag_not_found":
        return f"{key}.kind: missing"
    if kind == "literal_error":
        choices = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        hint = nearest(str(error["input"]), choices)
        return f"{key}: got {got}, expected {context['expected']}{hint}"
    if kind in _EXPECTED:
        return f"{key}: got {got}, expected {_EXPECTED[kind].format(**context)}"
    expected = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{key}: got {got}, expected {expected.removeprefix('a valid ')}"


def _known_names(path: Sequence[Any], tree: Any) -> list[str]:
    """The keys that exist at a path of the config."""
    kind = Config
    for part in path:
        tree = tree[part]
        if not isinstance(part, int):
            kind = typing.get_type_hints(_table(kind, {}))[part]
        if isinstance(tree, dict):
            kind = _table(kind, tree)
    return _names(kind) if dataclasses.is_dataclass(kind) else []


def _names(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _table(kind: Any, tree: Any) -> Any:
    """The dataclass that a table is read into, of all that a type allows; None: there is none."""
    candidates = [kind]
    while candidates:
        found = candidates.pop(0)
        if dataclasses.is_dataclass(found):
            tag = getattr(found, "kind", None)
            if tag is None or not isinstance(tree, dict) or tree.get("kind", tag) == tag:
                return found
        candidates.extend(typing.get_args(found))
    return None
