"""How the HTML report looks: on screens light and dark, on paper always light, everywhere readable without colour."""

from otel_sla.report.html.markup import Markup

_LIGHT = """
    --page: #ffffff; --text: #1c2126; --quiet: #59636e; --rule: #d4d9de; --panel: #f5f6f8;
    --up: #57997a; --down: #b3201b; --ink: #3f6da3; --low: #a06a00; --nothing: #7d8690;
    --breached: #b3201b; --kept: #1f6b45;
"""
_DARK = """
    --page: #14181c; --text: #e4e8ec; --quiet: #9aa5b0; --rule: #343c44; --panel: #1d2329;
    --up: #4a8f6f; --down: #ff6b61; --ink: #7fb0e8; --low: #e0a63a; --nothing: #7b858f;
    --breached: #ff8a80; --kept: #7fd1a7;
"""

STYLE = Markup(
    ":root { color-scheme: light dark;"
    + _LIGHT
    + "}\n@media screen and (prefers-color-scheme: dark) { :root {"
    + _DARK
    + "} }\n"
    + """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1.5rem; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.35rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 3px solid var(--text); }
h3 { font-size: 1.1rem; margin: 2.25rem 0 .25rem; padding-top: .75rem; border-top: 1px solid var(--rule); }
h2, h3, bdi, caption { overflow-wrap: anywhere; }
p { margin: .35rem 0; }
a { color: inherit; text-decoration-color: var(--quiet); }
.quiet, caption, .clause { color: var(--quiet); }
.clause { white-space: nowrap; }
.verdict { display: inline-block; margin: .4rem 0; padding: .4rem .8rem; border: 2px solid; border-radius: .3rem;
  font-weight: 600; }
.breached { color: var(--breached); font-weight: 600; } .kept { color: var(--kept); }
.verdict.kept { border-style: dashed; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; margin: 1.25rem 0; }
caption { text-align: left; color: var(--text); font-size: .95rem; font-weight: 600; padding-bottom: .2rem; }
th, td { padding: .28rem .6rem .28rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule);
  font-weight: 400; }
thead th { color: var(--quiet); border-bottom: 1px solid var(--text); vertical-align: bottom; }
th:last-child, td:last-child { padding-right: 0; }
.figures th:nth-child(n+3), .figures td:nth-child(n+3) { text-align: right; }
.figures td { white-space: nowrap; } .figures th:first-child { min-width: 11em; }
.computed th:first-child { width: 24%; } .computed td:last-child { font-weight: 600; text-align: right; }
.terms th:first-child { width: 18%; } .terms tbody th { font-weight: 600; }
.terms td:last-child { text-align: right; }
.time, .computed td:last-child, .terms td:last-child { white-space: nowrap; }
.calendar { margin: .6rem 0; table-layout: fixed; }
.calendar caption { font-size: .86rem; font-weight: 400; color: var(--quiet); }
.calendar th, .calendar td { border: 0; padding: 0; line-height: 1.15rem; vertical-align: middle; }
.calendar th:first-child { width: 4.2rem; white-space: nowrap; } .calendar th:last-child { width: 9.5rem; }
.calendar td:last-child { padding-left: .6rem; white-space: nowrap; }
.calendar svg { display: block; width: 100%; height: .95rem; overflow: visible; }
.calendar .axis { height: 1.2rem; } .axis text { fill: var(--quiet); font-size: .78rem; text-anchor: middle; }
.axis text:first-child { text-anchor: start; }
.definitions { position: absolute; }
path { fill: none; }
.grid { stroke: var(--rule); stroke-width: 1; } .grid, #hours { vector-effect: non-scaling-stroke; }
path.up { stroke: var(--up); stroke-width: 7; }
path.down { stroke: var(--down); stroke-width: 20; }
path.excluded { stroke: url(#edges); stroke-width: 20; }
path.saved { stroke: url(#bars); stroke-width: 20; }
path.low-traffic { stroke: url(#floor); stroke-width: 20; }
path.no-data { stroke: var(--nothing); stroke-width: 1.8; }
.ink { stroke: var(--ink); stroke-width: 4; } .strong { stroke: var(--down); stroke-width: 4; }
.low { stroke: var(--low); stroke-width: 5; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; padding: .6rem .8rem; margin: .8rem 0; list-style: none;
  background: var(--panel); font-size: .86rem; }
.legend li { display: flex; align-items: center; gap: .5rem; }
.sample { width: 2.85rem; height: .95rem; flex: none; }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--rule); font-size: .86rem; }
@media screen and (max-width: 44rem) {
  body { padding: .9rem; }
  table:not(.calendar), table:not(.calendar) :is(caption, tbody, tr, th, td) { display: block; }
  table:not(.calendar) thead { display: none; }
  table:not(.calendar) tbody tr { padding: .35rem 0; border-bottom: 1px solid var(--rule); }
  table:not(.calendar) tbody :is(th, td):nth-child(n) { width: auto; padding: .05rem 0; border: 0; text-align: left;
    white-space: normal; }
  table:not(.calendar) tbody th { font-weight: 600; }
  td[data-name]::before { content: attr(data-name) ": "; color: var(--quiet); font-weight: 400; }
  .terms td:nth-child(2)::before, .computed td:nth-child(2)::before { content: none; }
  .time { white-space: normal; } .time br { display: none; } .time .quiet::before { content: " \b7  "; }
  .calendar th:first-child { width: 3.8rem; } .calendar th:last-child { width: 5rem; }
  .calendar td:last-child { white-space: normal; font-size: .78rem; line-height: 1; }
  .axis text:nth-child(even) { display: none; }
}
@page { size: A4; margin: 12mm; }
@media print {
  html { font-size: 9pt; }
  body { max-width: none; padding: 0; font-size: 1rem; line-height: 1.3; }
  body, svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h1, h2, h3, caption, thead { break-after: avoid; }
  h2 { margin-top: 1rem; padding-top: .5rem; } h3 { margin-top: 1rem; padding-top: .4rem; }
  tr, .verdict, .legend, .opening { break-inside: avoid; } tbody tr:first-child { break-before: avoid; }
  table { margin: .6rem 0; } th, td { padding-top: .1rem; padding-bottom: .1rem; }
  .calendar th, .calendar td { line-height: .95rem; font-size: .8rem; } .calendar svg { height: .7rem; }
  .legend { padding: .3rem .5rem; margin: .4rem 0; }
  footer { margin-top: 1rem; }
  a { text-decoration: none; }
}
"""
)
