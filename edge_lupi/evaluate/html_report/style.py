"""Style sheet of a report: by day and by night, on a phone and on paper."""

from __future__ import annotations

__all__ = ["COLOURS", "STYLE"]

COLOURS = 8  # of classes; Okabe and Ito's, told apart by everybody, by night lighter

STYLE = """
:root{--paper:#fff;--panel:#f6f7f9;--ink:#17202b;--soft:#556170;--line:#d9dee5;--accent:#0a5f9c;--right:10 95 156;--wrong:193 72 0;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b8578f;--c4:#b07800;--c5:#2f8fc4;--c6:#6a5acd;--c7:#5c6670}
@media(prefers-color-scheme:dark){:root{--paper:#12161c;--panel:#1a2028;--ink:#e7ebf0;--soft:#9fabb9;--line:#313a46;--accent:#6db8f2;
--right:88 166 230;--wrong:240 136 62;--c0:#58a6e6;--c1:#f0883e;--c2:#3ecf9a;--c3:#e08fc0;--c4:#e6b84a;--c5:#8ad4f5;--c6:#a99cf5;--c7:#b6c0cc}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
header,main{max-width:62rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .5rem}
h2{font-size:1.15rem;margin:2.5rem 0 .75rem;padding-top:1rem;border-top:1px solid var(--line)}
p{max-width:44rem;margin:.5rem 0}
small,figcaption,.soft{color:var(--soft)}small{font-size:.85em;white-space:nowrap}
.big{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0;padding:0;list-style:none}
.big li{background:var(--panel);border:1px solid var(--line);border-radius:.6rem;padding:.6rem .9rem;min-width:9rem}
.big b{display:block;font-size:1.6rem;line-height:1.2;font-variant-numeric:tabular-nums}
.warn{border-left:.25rem solid var(--c1);background:var(--panel);padding:.5rem .9rem;border-radius:0 .4rem .4rem 0}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:1.25rem;align-items:start}
figure{margin:0}figcaption{font-size:.9rem;margin-top:.25rem}
svg{display:block;width:100%;height:auto;max-width:27rem}
svg text{fill:var(--ink);font:12px system-ui,sans-serif}svg .t,svg .n{fill:var(--soft)}
svg .grid{stroke:var(--line);fill:none}svg .frame{stroke:var(--soft);fill:none}
svg rect[fill="#fff"]{fill:none}svg [stroke="#ddd"]{stroke:var(--line)}svg [stroke="#000"]{stroke:var(--soft)}svg [stroke="#555"]{stroke:var(--soft)}
svg polyline[stroke="#0072b2"]{stroke:var(--c0)}svg polyline[stroke="#d55e00"]{stroke:var(--c1)}svg polyline[stroke="#009e73"]{stroke:var(--c2)}
svg polyline[stroke="#cc79a7"]{stroke:var(--c3)}svg text[fill="#0072b2"]{fill:var(--c0)}svg text[fill="#d55e00"]{fill:var(--c1)}
svg text[fill="#009e73"]{fill:var(--c2)}svg text[fill="#cc79a7"]{fill:var(--c3)}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}
.other{--c:var(--soft);opacity:.4}
.dot{fill:var(--c);fill-opacity:.8;stroke:var(--paper);stroke-width:.6}.line{stroke:var(--c);fill:none;stroke-width:2}
.bar{fill:var(--c);fill-opacity:.55}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:.5rem 0;padding:0;font-size:.9rem}
.legend li{display:flex;align-items:center;gap:.35rem}.legend svg{width:1rem;height:1rem;flex:none}
.scroll{overflow-x:auto;margin:.75rem 0;border-radius:.4rem}.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--accent)}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.25rem 0;caption-side:top}
th,td{padding:.3rem .65rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;overflow-wrap:normal}
.words th,.words td{overflow-wrap:break-word}.words th[scope=row]{min-width:9rem;max-width:24rem}.words td{max-width:24rem}.provenance td{max-width:none;overflow-wrap:anywhere;min-width:12rem}
th[scope=row],thead th:first-child,.words td,.words th{text-align:left}
thead th{font-weight:600;color:var(--soft);vertical-align:bottom}
.confusion td{text-align:center;min-width:2.6rem}.confusion thead th{text-align:center}.confusion thead th:first-child{text-align:left}
.shade{background:rgb(var(--wrong)/calc(var(--shade)*.75))}.shade.right{background:rgb(var(--right)/calc(var(--shade)*.65))}
audio{height:2.2rem;width:14rem;max-width:100%;display:block;margin-top:.25rem}
code{font:.88em ui-monospace,monospace;background:var(--panel);padding:.1em .35em;border-radius:.3em}
main{padding-bottom:4rem}
@media(max-width:30rem){body{font-size:15px}header,main{padding:0 .9rem}header{padding-top:1.25rem}audio{width:11rem}.provenance th[scope=row]{min-width:6rem}.provenance td{min-width:0}th,td{padding:.3rem .45rem}.big li{flex:1 1 40%}}
@media print{body{font-size:11pt}audio{display:none}section{break-inside:avoid-page}}
"""
