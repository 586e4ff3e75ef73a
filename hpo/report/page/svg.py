"""A figure's SVG made fit for the page: no style attributes, no foreign names, few bytes.

matplotlib writes ``style="…"`` on every element and a style sheet into every picture; a page whose
policy allows only its own style sheet shows neither. So styles become attributes, and the colours
of `style.ROLES` become classes, which the page's style sheet colours in light and in dark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from xml.etree import ElementTree

from hpo.report.page.style import ROLES

_DROPPED = ("metadata", "style", "title")
_KEPT = re.compile(r"(curve|dot)-\d+")
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"(url\()?#([^)\s]+)(\))?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)px")
_LINK = "{http://www.w3.org/1999/xlink}href"
_NUMERIC = (
    "d",
    "x",
    "y",
    "x1",
    "x2",
    "y1",
    "y2",
    "width",
    "height",
    "transform",
    "points",
)
_STYLES = (
    *("stroke-width", "stroke-dasharray", "stroke-dashoffset", "stroke-linejoin"),
    *("stroke-linecap", "stroke-opacity", "fill-opacity", "opacity", "text-anchor"),
    *("fill-rule", "clip-rule"),
)
_INITIAL = {
    *(("stroke-width", "1"), ("stroke-linejoin", "miter"), ("text-anchor", "start")),
    *(("stroke-dashoffset", "0"), ("opacity", "1"), ("stroke-linecap", "butt")),
}


def inlined(svg: bytes, *, name: str, label: str) -> str:
    """The picture as an element of an HTML page.

    Args:
        svg: What matplotlib wrote.
        name: Told apart from the other figures of the page; letters, digits and ``-``.
        label: What is said of it to those who cannot see it.
    """
    root = ElementTree.fromstring(svg)
    used = {m[2] for e in root.iter() for v in e.attrib.values() if (m := _link(v))}
    body = "".join(_written(child, name, used) for child in root)
    box = escape(root.get("viewBox", "0 0 331 216"), quote=True)
    about = escape(label, quote=True)
    return f'<svg role="img" aria-label="{about}" viewBox="{box}">{body}</svg>'


def _link(value: str) -> re.Match[str] | None:
    return _REFERENCE.fullmatch(value.strip())


def _written(element: ElementTree.Element, name: str, used: set[str]) -> str:
    """An element and all below it; a group that says nothing is left out around them."""
    tag = str(element.tag).rpartition("}")[2]
    if tag in _DROPPED or not isinstance(element.tag, str):
        return ""
    attributes = dict(_attributes(element, tag, name, used))
    inner = escape(element.text or "", quote=False) if tag in ("text", "tspan") else ""
    inner += "".join(_written(child, name, used) for child in element)
    if tag == "g" and (not attributes or not inner):
        return inner
    told = "".join(f' {k}="{escape(v, quote=True)}"' for k, v in attributes.items())
    return f"<{tag}{told}>{inner}</{tag}>" if inner else f"<{tag}{told}/>"


def _attributes(
    element: ElementTree.Element, tag: str, name: str, used: set[str]
) -> Iterator[tuple[str, str]]:
    classes = []
    for key, value in element.attrib.items():
        if key == "id":
            if _KEPT.fullmatch(value):
                classes.append(value)
            elif value in used:
                yield "id", f"{name}-{value}"
        elif key == "style":
            for style, told in _styles(value, tag):
                if style == "class":
                    classes.append(told)
                else:
                    yield style, told
        elif match := _link(value):
            opening, target, closing = match.groups()
            plain = "href" if key == _LINK else key
            yield plain, f"{opening or ''}#{name}-{target}{closing or ''}"
        elif not key.startswith("{"):
            yield key, _rounded(value) if key in _NUMERIC else value
    if classes:
        yield "class", " ".join(classes)


def _styles(style: str, tag: str) -> Iterator[tuple[str, str]]:
    """The attributes, and classes, that a style stands for."""
    found = {
        k.strip(): v.strip()
        for k, _, v in (part.partition(":") for part in style.split(";"))
        if v.strip()
    }
    for key, letter in (("fill", "f"), ("stroke", "s")):
        if colour := found.get(key):
            role = ROLES.get(colour.lower())
            yield ("class", f"{letter}-{role}") if role else (key, colour)
    for key in _STYLES:
        value = found.get(key)
        if value is not None and (key, value) not in _INITIAL:
            yield key, _rounded(value)
    if tag == "text" and (
        size := _SIZE.search(found.get("font", found.get("font-size", "")))
    ):
        yield "font-size", size[1]


def _rounded(text: str) -> str:
    """The same with at most two decimals; a figure is some 330 points wide."""
    return _NUMBER.sub(_short, " ".join(text.split()))


def _short(match: re.Match[str]) -> str:
    text = f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
