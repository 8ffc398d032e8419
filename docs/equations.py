"""Equations as MathML, which browsers draw by themselves: pages need no script and no network."""

import html
import re

from latex2mathml.converter import convert

_FOUND = re.compile(r'<(div|span) class="arithmatex">\\([\[(])(.*?)\\[\])]</\1>', re.S)


def on_page_content(content, **_):
    """Replaces what `pymdownx.arithmatex` marks as an equation."""
    return _FOUND.sub(_drawn, content)


def _drawn(found):
    display = "block" if found[2] == "[" else "inline"
    return convert(html.unescape(found[3]).strip(), display=display)
