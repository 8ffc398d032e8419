"""Values show themselves in few lines, and in notebooks as tables."""

import inspect
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

import bss2jax
from bss2jax import BSS2
from bss2jax.networks import LI, LIF, Latency, MaxOverTime, build
from bss2jax.text import table

NETWORK = build((Latency(), LIF(outputs=256), LI(outputs=10), MaxOverTime()), (28, 28, 1))


def test_a_chip_says_its_size_and_spread(chip):
    sigma = f"{chip.offset.std():.1f}"
    assert repr(chip) == f"Chip(2×256 columns, offset σ {sigma} LSB)"
    stack = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), chip)
    assert repr(stack) == f"Chip(3 of 2×256 columns, offset σ {sigma} LSB)"
    said = []
    jax.eval_shape(lambda chip: said.append(repr(chip)), chip)
    assert said == ["Chip(2×256 columns, traced)"]


def test_a_substrate_is_what_one_would_write():
    other = replace(BSS2, columns=128, gain=0.003)
    assert repr(BSS2) == "BSS2" and repr(other) == "replace(BSS2, columns=128, gain=0.003)"
    assert eval(repr(other), {"replace": replace, "BSS2": BSS2}) == other
    assert "Substrate = BSS2)" in str(inspect.signature(bss2jax.ideal_chip))


def test_networks_and_plans_are_small_tables():
    head, _, _, *rows = repr(NETWORK).splitlines()
    assert head == "Network(28×28×1 to 10)"
    assert [row.split()[0] for row in rows] == list(NETWORK.names)
    head, _, _, *rows = repr(NETWORK.plan).splitlines()
    assert head == "Plan(5 pieces, 5 configurations)"
    assert [row.split() for row in rows] == [["lif_0", "4", "1", "to", "4"], ["li_0", "1", "5"]]


@pytest.mark.parametrize("shown", ["chip", NETWORK, NETWORK.plan])
def test_a_notebook_shows_a_table(shown, chip):
    html = (chip if shown == "chip" else shown)._repr_html_()
    rows = re.findall("<tr>", html)
    assert len(rows) > 2


def test_names_are_escaped():
    html = build((Latency(name="<b>"),), (4,))._repr_html_()
    assert "&lt;b&gt;" in html and "<b>" not in html


def test_a_wide_table_stacks_its_headings_and_goes_on_below_in_a_narrow_window():
    wide = table(("two words", "configurations"), [("1", "22")], most=20)
    assert wide.splitlines() == [
        "  two  configu-", "words   rations", "-----  --------", "    1        22"
    ]  # fmt: skip
    assert table(("two words", "x"), [("1", "2")], most=12).splitlines()[0] == "two words  x"
    narrow = table(("name", "text"), [("n", "one two three four five six seven")], width=30)
    assert narrow.splitlines()[2:] == ["n     one two three four five", "      six seven"]
