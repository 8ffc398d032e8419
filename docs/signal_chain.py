"""Draws the two signal chains, `signal-chain.svg`: `python docs/signal_chain.py`.

Every box is what happens to a signal, every arrow carries its unit. What stays the same from trial
to trial, the fixed pattern, is orange; what does not, the noise, is blue.
"""

from html import escape
from pathlib import Path

WIDTH, BOX, GAP, HEIGHT = 1250, 152, 27, 96

# Title, lines below it, fixed pattern, noise, unit of what leaves the box.
PRODUCT = [
    ("Value", ["a pixel, a sample", "0 .. full scale"], "", "", ["x · 31 / full scale"]),
    ("Activation x", ["5 bit: 0 .. 31", "rounded half to even"], "", "", ["code 0 .. 31"]),
    ("Driver", ["pulse length ∝ x", "sent num_sends times"], "driver_gain", "", ["pulse"]),
    ("Synapse", ["weight w, 6 bit: ±63", "sign: row of a pair"],
     "synapse_gain, inhibitory_gain", "", ["x · w"]),
    ("Membrane", ["Σ over 128 rows", "· .002 LSB · sends", "soft beyond ±80 LSB"],
     "column_gain, compression", "noise_std, send_noise", ["LSB"]),
    ("CADC", ["+ offset, floor", "8 bit: −128 .. 127"], "offset", "", ["LSB, integer"]),
    ("Processor", ["Σ of row blocks, int8", "ReLU, >> shift"], "", "", ["0 .. 31: next layer"]),
]  # fmt: skip
SPIKING = [
    ("Value", ["0 .. 1"], "", "", ["code, such as latency"]),
    ("Spikes", ["at most one a step", "dt = 1 µs"], "", "", ["step, input"]),
    ("Synapse", ["weight · 60 LSB / unit", "6 bit: ±63"], "driver_gain, synapse_gain, strength", "",
     ["software units"]),
    ("Current i", ["decays with τ_syn", "5.7 µs"], "tau_syn", "", ["software units"]),
    ("Membrane v", ["decays with τ_mem", "6 µs; 128 inputs a", "circuit, some joined"],
     "tau_mem, leak", "membrane_noise", ["software units"]),
    ("Neuron", ["spike where v > 1,", "then reset"], "threshold, reset", "threshold_noise, jitter",
     ["spikes: next run"]),
    ("Readout", ["CADC every 1.7 µs", "v · 40 LSB / unit", "floor, −128 .. 127"],
     "", "", ["software units"]),
]  # fmt: skip


def text(x, y, words, style="line", anchor="middle"):
    return f'<text x="{x}" y="{y}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def pill(x, y, width, style):
    place = f'x="{x}" y="{y - 13}" width="{width}" height="18" rx="9"'
    return f'<rect {place} class="{style}"/>'


def chain(title, boxes, top):
    """A row of boxes with arrows between them, and their deviations below."""
    parts = [text(10, top, title, "head", "start")]
    y = top + 18
    for i, (name, lines, pattern, noise, units) in enumerate(boxes):
        x = 10 + i * (BOX + GAP)
        middle = x + BOX / 2
        parts.append(f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="6" class="box"/>')
        parts.append(text(middle, y + 24, name, "name"))
        parts += [text(middle, y + 46 + 18 * j, line) for j, line in enumerate(lines)]
        if i + 1 < len(boxes):
            arrow = f"M{x + BOX + 2} {y + HEIGHT / 2} h{GAP - 10}"
            parts.append(f'<path d="{arrow}" class="arrow" marker-end="url(#tip)"/>')
        parts += [text(middle, y + HEIGHT + 18, unit, "unit") for unit in units]
        below = y + HEIGHT + 40
        for words, style in ((pattern, "pattern"), (noise, "noise")):
            for word in filter(None, words.split(", ")):
                parts.append(pill(x + 8, below, BOX - 16, style))
                parts.append(text(middle, below, word, "tag"))
                below += 22
    return parts


def legend(y):
    parts = []
    for x, style, words in (
        (10, "pattern", "fixed pattern: by place on the chip, the same in every trial"),
        (470, "noise", "trial noise: drawn anew for every readout, spike and sample"),
    ):
        parts.append(pill(x, y, 34, style))
        parts.append(text(x + 44, y, words, "line", "start"))
    parts.append(text(930, y, "below a box: the unit of what leaves it", "unit", "start"))
    return parts


STYLE = """
text { font-family: system-ui, sans-serif; fill: #1a1a1a; }
.head { font-size: 17px; font-weight: 700; } .name { font-size: 15px; font-weight: 600; }
.line { font-size: 12px; } .unit { font-size: 12px; font-style: italic; fill: #444; }
.tag { font-size: 11px; font-family: ui-monospace, monospace; }
.box { fill: #f4f5fa; stroke: #3f51b5; stroke-width: 1.4; }
.pattern { fill: #f6c28b; } .noise { fill: #a9cdf0; }
.arrow { stroke: #333; stroke-width: 1.6; fill: none; }
"""


def drawing():
    parts = [
        *chain("Matrix product: one block of 128 signed rows and 256 columns", PRODUCT, 24),
        *chain("Spiking: one run of up to 512 neuron circuits", SPIKING, 284),
        *legend(548),
    ]
    tip = (
        '<marker id="tip" markerWidth="8" markerHeight="8" refX="5" refY="4" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#333"/></marker>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 564" role="img">'
        "<title>The signal chains of matrix products and of spiking neurons</title>"
        f'<style>{STYLE}</style><defs>{tip}</defs><rect width="{WIDTH}" height="564" fill="#fff"/>'
        + "\n".join(parts)
        + "</svg>\n"
    )


if __name__ == "__main__":
    (Path(__file__).parent / "signal-chain.svg").write_text(drawing(), encoding="utf-8")
