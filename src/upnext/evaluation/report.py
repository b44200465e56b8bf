"""The results as one HTML file that needs nothing else: no script, no request, light and dark, phone to desktop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from upnext.evaluation.plots import plots
from upnext.evaluation.results import Results
from upnext.evaluation.table import Headline, Row, Section, headlines, number, sections

CSS = """
:root { color-scheme: light dark; --ink: #1c2127; --paper: #fdfdfc; --soft: #5f6872; --line: #dfe3e6; --band: #f1f4f6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ea; --paper: #15181b; --soft: #9aa3ad; --line: #2f353b; --band: #1e2327; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; }
p, dl { margin: .25rem 0; color: var(--soft); font-size: .875rem; }
dl { display: flex; flex-wrap: wrap; gap: .1rem 1.5rem; }
dl div { display: flex; gap: .4rem; }
dd { margin: 0; color: var(--ink); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.card { background: var(--band); border-radius: .5rem; padding: .7rem .9rem; font-size: .8125rem; color: var(--soft); }
.card b { display: block; font-size: 1.5rem; line-height: 1.3; color: var(--ink); font-weight: 600; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 500; color: var(--soft); }
tbody th { text-align: left; color: var(--ink); padding-left: .5rem; }
td small { color: var(--soft); display: inline-block; min-width: 2.6rem; }
tr.whole > * { font-weight: 650; background: var(--band); }
tr.baseline > * { color: var(--soft); }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
svg { max-width: 100%; height: auto; color: var(--ink); }
"""


def write_report(results: Results, path: Path) -> None:
    path.write_text(html(results), encoding="utf-8")


def html(results: Results) -> str:
    """The whole page. Raises UpnextError where matplotlib is not installed."""
    figures = plots(results)
    parts = [_section(section, figures.get(section.key, [])) for section in sections(results)]
    if figures["training"]:
        parts.append(f"<section><h2>Training</h2>{_plots(figures['training'])}</section>")
    title = f"upnext: evaluation of {escape(results['model_version'])}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"{_header(results)}\n{_cards(headlines(results))}\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _header(results: Results) -> str:
    facts = {"model": results["model_version"], "users": results["users"], **results["window"]}
    entries = (f"<div><dt>{escape(name)}</dt><dd>{escape(number(value))}</dd></div>" for name, value in facts.items())
    return f"<header><h1>How good are the recommendations?</h1><dl>{''.join(entries)}</dl></header>"


def _cards(found: Iterable[Headline]) -> str:
    cards = (
        f'<div class="card">{escape(card.name)}<b>{escape(card.value)}</b>{escape(card.detail)}</div>' for card in found
    )
    return f'<div class="cards">{"".join(cards)}</div>'


def _section(section: Section, figures: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in section.columns)
    rows = "\n".join(_row(row, _compared(section)) for row in section.rows)
    return (
        f'<section id="{section.key}"><h2>{escape(section.title)}</h2><p>{escape(section.note)}</p>'
        f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'
        f"{_plots(figures)}</section>"
    )


def _compared(section: Section) -> list[bool]:
    """Which columns have a comparison in any row: the others' cells keep room for it."""
    return [any(row.cells[n].times for row in section.rows) for n in range(len(section.columns))]


def _row(row: Row, compared: Sequence[bool]) -> str:
    kind = ' class="whole"' if row.whole else ' class="baseline"' if row.baseline else ""
    cells = "".join(
        f"<td>{escape(cell.text)}{f'<small>{escape(cell.times)}</small>' if times else ''}</td>"
        for cell, times in zip(row.cells, compared, strict=True)
    )
    return f'<tr{kind}><th scope="row">{escape(row.name)}</th>{cells}</tr>'


def _plots(figures: Sequence[str]) -> str:
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""
