"""How the HTML report looks: on screens light and dark, on paper always light, everywhere readable without colour."""

from otel_sla.report.markup import Markup

_LIGHT = """
    --page: #ffffff; --text: #1c2126; --quiet: #59636e; --rule: #d4d9de; --panel: #f5f6f8;
    --up: #8fbfa6; --down: #b3201b; --ink: #3f6da3; --ground: #e3ecf6; --dot: #a06a00; --nothing: #8b949d;
    --breached: #b3201b; --kept: #1f6b45;
"""
_DARK = """
    --page: #14181c; --text: #e4e8ec; --quiet: #9aa5b0; --rule: #343c44; --panel: #1d2329;
    --up: #3f7d60; --down: #ff6b61; --ink: #7fb0e8; --ground: #213247; --dot: #e0a63a; --nothing: #7b858f;
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
h4 { font-size: .95rem; margin: 1.25rem 0 .35rem; }
h2, h3, bdi { overflow-wrap: anywhere; }
p { margin: .35rem 0; }
a { color: inherit; text-decoration-color: var(--quiet); }
.quiet, caption, .clause { color: var(--quiet); }
.clause { white-space: nowrap; }
.verdict { display: inline-block; margin: .4rem 0; padding: .4rem .8rem; border: 2px solid; border-radius: .3rem;
  font-weight: 600; }
.breached { color: var(--breached); font-weight: 600; } .kept { color: var(--kept); }
.verdict.kept { border-style: dashed; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
th, td { padding: .28rem .6rem .28rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule);
  font-weight: 400; }
thead th { color: var(--quiet); border-bottom: 1px solid var(--text); vertical-align: bottom; }
.wide { overflow-x: auto; }
th:last-child, td:last-child { padding-right: 0; }
.figures th:nth-child(n+3), .figures td:nth-child(n+3) { text-align: right; }
.figures td { white-space: nowrap; } .figures th:first-child { min-width: 13em; }
.computed th:first-child { width: 24%; } .computed td:last-child { font-weight: 600; text-align: right; }
.terms th:first-child { width: 18%; } .terms tbody th { font-weight: 600; }
.terms td:last-child { text-align: right; }
.time, .computed td:last-child, .terms td:last-child { white-space: nowrap; }
.definitions { position: absolute; }
figure { margin: .5rem 0; } figcaption { font-size: .86rem; }
.calendar { display: block; width: 100%; height: auto; }
.calendar path, .sample path { fill: none; }
.calendar text { font-size: 25px; fill: var(--text); }
.calendar .day { text-anchor: end; } .calendar .hour { text-anchor: middle; fill: var(--quiet); font-size: 22px; }
.calendar .grid { stroke: var(--rule); stroke-width: 1.5; }
path.up { stroke: var(--up); stroke-width: 11; }
path.down { stroke: var(--down); stroke-width: 27; }
path.excluded { stroke: url(#hatch); stroke-width: 23; }
path.saved { stroke: url(#cross); stroke-width: 23; }
path.low-traffic { stroke: url(#dots); stroke-width: 15; }
path.no-data { stroke: var(--nothing); stroke-width: 2.5; }
path.to-come { stroke: var(--nothing); stroke-width: 2; stroke-dasharray: 2 14; }
.ground { fill: var(--ground); } .ink { fill: var(--ink); } .strong { fill: var(--down); } .dot { fill: var(--dot); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; padding: .6rem .8rem; margin: .8rem 0; list-style: none;
  background: var(--panel); font-size: .86rem; }
.legend li { display: flex; align-items: center; gap: .5rem; }
.sample { width: 2.4rem; height: 1.2rem; flex: none; }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--rule); font-size: .86rem; }
@page { size: A4; margin: 14mm 13mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  body, svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h1, h2, h3, h4 { break-after: avoid; }
  tr, .calendar, .verdict, .legend, .opening { break-inside: avoid; }
  .wide { overflow: visible; }
  .wide table { font-size: .8rem; }
  a { text-decoration: none; }
}
"""
)
