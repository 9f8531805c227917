#!/usr/bin/env python3
"""Figures of scripts/bench_store.sh as a table or a picture; standard library only.

    scripts/plot_bench.py --table FILE.json             # Markdown, to stdout
    scripts/plot_bench.py FILE.json [docs/performance.svg]

The picture shows how far each figure is from its goal: 1 is the goal, further right is better.
"""
import json
import math
import pathlib
import sys
from xml.sax.saxutils import escape


def load(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line.strip()]


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def met(result):
    return result["value"] >= result["goal"] if result["at_least"] else result["value"] <= result["goal"]


def goal_text(result):
    if result["goal"] is None:
        return ""
    return f"{'≥' if result['at_least'] else '≤'} {number(result['goal'])} {result['unit'].replace('x', '×')}"


def table(results):
    print("| work | case | against | goal | measured | | lrufs | the other |")
    print("|---|---|---|---|---|---|---|---|")
    for r in results:
        verdict = "" if r["goal"] is None else "met" if met(r) else "**missed**"
        theirs = f"{number(r['theirs'])} {r['of']}" if r["theirs"] else ""
        print(f"| {r['row']} | {r['case']} | {r['peer']} | {goal_text(r)} | {number(r['value'])} "
              f"{r['unit'].replace('x', '×')} | {verdict} | {number(r['ours'])} {r['of']} | {theirs} |")


def picture(results, path):
    results = [r for r in results if r["goal"] is not None]
    label, width, line, top = 430, 420, 22, 56
    low, high = -2, 4  # powers of two
    height = top + line * len(results) + 30

    def x(ratio):
        power = math.log2(ratio) if ratio > 0 else low
        return label + width * (min(max(power, low), high) - low) / (high - low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{label + width + 110}" height="{height}" '
           'font-family="sans-serif" font-size="13">',
           f'<rect width="100%" height="100%" fill="white"/><text x="10" y="22" font-size="16">lrufs: measured against its '
           'goals (1 = goal, right is better)</text>']
    for power in range(low, high + 1):
        at = x(2.0 ** power)
        out.append(f'<line x1="{at:.0f}" x2="{at:.0f}" y1="{top - 8}" y2="{height - 24}" '
                   f'stroke="{"black" if power == 0 else "#ddd"}"/>'
                   f'<text x="{at:.0f}" y="{top - 12}" text-anchor="middle" fill="#555">{2.0 ** power:g}×</text>')
    for i, r in enumerate(results):
        share = r["value"] / r["goal"] if r["at_least"] else r["goal"] / max(r["value"], 1e-9)
        y = top + line * i
        left, right = sorted((x(1), x(share)))
        name = f"{r['row']}: {r['case']}" + (f" / {r['peer']}" if r["peer"] else "")
        out.append(f'<text x="{label - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
                   f'<rect x="{left:.1f}" y="{y + 3}" width="{max(right - left, 1):.1f}" height="{line - 6}" '
                   f'fill="{"#2a8a4a" if met(r) else "#c0392b"}"/>'
                   f'<text x="{label + width + 8}" y="{y + 15}">{number(r["value"])} {r["unit"].replace("x", "×")} '
                   f'({goal_text(r)})</text>')
    out.append("</svg>")
    pathlib.Path(path).write_text("\n".join(out) + "\n")


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--table":
        table(load(arguments[1]))
    elif len(arguments) in (1, 2) and not arguments[0].startswith("-"):
        root = pathlib.Path(__file__).resolve().parent.parent
        picture(load(arguments[0]), arguments[1] if len(arguments) == 2 else root / "docs" / "performance.svg")
    else:
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
