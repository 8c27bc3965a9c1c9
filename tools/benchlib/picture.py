"""The picture: CPU per unit of each workload, relative to the better peer, as horizontal bars in an SVG of plain text."""

import statistics
from xml.sax.saxutils import escape

from .results import LOWER

# What a user gets without choosing a mode; the tables have the other modes, too. The name in the legend, and the colour,
# which differ for those who see no colours as well.
SHOWN = {"millrace-auto": ("millrace", "#d1495b"), "millrace": ("millrace", "#d1495b"),
         "haproxy-splice": ("HAProxy, splicing forced", "#1d4e89"), "haproxy-auto": ("HAProxy, splice-auto", "#7fb2e5"),
         "nginx": ("nginx stream", "#9aa0a6"), "floor": ("the smallest relay", "#c7a94e")}

WIDTH, LABEL, RIGHT = 860, 210, 60
BAR, GAP, BLOCK_GAP = 9, 2, 12
TOP, BOTTOM = 86, 30
# Longer bars are cut, and their number says how long they are.
RATIO_MAX = 2.5
INK, PALE, PAPER = "#1f2328", "#d0d7de", "#ffffff"


def bars_of(results, workload):
    """[(candidate, median ratio)]; empty without a peer. The bar of the better peer is 1 by definition."""
    peer = results.better_peer(workload["name"], "cpu_per_unit", LOWER)
    if peer is None:
        return []
    bars = [(candidate, results.ratios(workload["name"], candidate, peer, "cpu_per_unit")) for candidate in SHOWN]
    return [(candidate, statistics.median(ratios)) for candidate, ratios in bars if ratios]


def text(x, y, words, size=11, anchor="start", weight="normal", halo=False):
    around = f' stroke="{PAPER}" stroke-width="3" paint-order="stroke"' if halo else ""
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{INK}"{around}>{escape(words)}</text>')


def rect(x, y, width, height, fill, more=""):
    return f'<rect x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}" fill="{fill}"{more}/>'


def at(ratio):
    """Where on the axis."""
    return LABEL + (WIDTH - LABEL - RIGHT) * min(ratio, RATIO_MAX) / RATIO_MAX


def legend(blocks):
    present = {SHOWN[candidate] for _, bars in blocks for candidate, _ in bars}
    parts, x = [], 20
    for name, colour in dict.fromkeys(SHOWN.values()):
        if (name, colour) in present:
            parts += [rect(x, 50, 11, 11, colour), text(x + 16, 60, name)]
            x += 36 + 6.4 * len(name)
    return parts


def axis(bottom):
    parts = []
    for ratio in (0, 0.5, 1, 1.5, 2, 2.5):
        is_one = ratio == 1
        parts.append(f'<line x1="{at(ratio):g}" y1="{TOP - 8}" x2="{at(ratio):g}" y2="{bottom:g}" '
                     f'stroke="{INK if is_one else PALE}" stroke-dasharray="{"4 3" if is_one else "none"}"/>')
        parts.append(text(at(ratio), bottom + 14, f"{ratio:g}", 10, "middle"))
    return parts


def block(y, name, bars):
    height = len(bars) * (BAR + GAP)
    parts = [text(LABEL - 10, y + height / 2 + 3, name, 11, "end")]
    for candidate, ratio in bars:
        is_ours = SHOWN[candidate][0] == "millrace"
        parts.append(rect(LABEL, y, at(ratio) - LABEL, BAR, SHOWN[candidate][1]))
        # The paper around a number hides the line of the axis that it may stand on.
        parts.append(text(at(ratio) + 4, y + BAR - 1, f"{ratio:.2f}" + (" →" if ratio > RATIO_MAX else ""), 9,
                          weight="bold" if is_ours else "normal", halo=True))
        y += BAR + GAP
    return parts


def svg(results):
    blocks = [(w["name"], bars) for w in results.workloads if (bars := bars_of(results, w))]
    body, y = [], TOP
    for name, bars in blocks:
        body += block(y, name, bars)
        y += len(bars) * (BAR + GAP) + BLOCK_GAP
    height = y + BOTTOM
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img">',
        "<title>CPU time of the proxy for the same work</title>",
        # Its own paper: the picture stays readable on a dark page.
        rect(0, 0, WIDTH, height, PAPER, f' rx="8" stroke="{PALE}"'),
        text(20, 28, "CPU time of the proxy for the same work, relative to the better peer", 16, weight="bold"),
        text(20, 43, "shorter is better; 1 = the peer that needed least; medians of the ratios of each round", 11),
        *legend(blocks), *axis(y), *body, "</svg>"]) + "\n"
