"""Draws docs/walls.svg: the way of a model, and the walls that it passes. Run it after a change: python docs/walls.py"""

from pathlib import Path

ROOMS = [  # what comes in, and the walls that it passes on its way
    ("Data", ["converted in a sandbox", "versioned, signed", "AES-256 at rest"]),
    ("Training", ["no network, no exec", "data read-only", "provenance signed"]),
    ("Model", ["scanned, never run", "signed by the keeper", "approved by a person"]),
    ("Worker", ["verified sealed bytes", "Landlock, seccomp", "own namespaces"]),
    ("Front door", ["TLS 1.3, API keys", "limits, validation", "receipt per answer"]),
]
WIDTH, HEIGHT, GAP, TOP = 184, 124, 22, 54


def room(index: int, title: str, lines: list[str]) -> str:
    left = 20 + index * (WIDTH + GAP)
    text = "".join(
        f'<text x="{left + 16}" y="{TOP + 58 + 21 * row}" class="s">{line}</text>' for row, line in enumerate(lines)
    )
    arrow = ""
    if index:
        arrow = f'<path d="M{left - GAP + 2} {TOP + HEIGHT // 2}h{GAP - 8}m-5 -5l5 5l-5 5" class="a"/>'
    return (
        f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" rx="6" class="w"/>'
        f'<text x="{left + 16}" y="{TOP + 30}" class="t">{title}</text>{text}{arrow}'
    )


def picture() -> str:
    width = 40 + len(ROOMS) * WIDTH + (len(ROOMS) - 1) * GAP
    rooms = "".join(room(index, *item) for index, item in enumerate(ROOMS))
    bar = TOP + HEIGHT + 26
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bar + 66}" role="img"
 aria-label="A model's way from data to the front door, and the walls that it passes">
<style>
text{{font:13px system-ui,sans-serif;fill:#24292f}} .t{{font-weight:600;font-size:16px}} .s{{fill:#57606a}}
.w{{fill:#f6f8fa;stroke:#57606a;stroke-width:2.5}} .a{{fill:none;stroke:#57606a;stroke-width:2}}
.b{{fill:#fff8e1;stroke:#9a6700;stroke-width:1.5}}
@media (prefers-color-scheme:dark){{text{{fill:#e6edf3}} .s{{fill:#9198a1}} .w{{fill:#161b22;stroke:#9198a1}}
.a{{stroke:#9198a1}} .b{{fill:#2b2111;stroke:#d29922}}}}
</style>
<text x="20" y="32" class="t">What comes in passes every wall on its way to a caller</text>
{rooms}
<rect x="20" y="{bar}" width="{width - 40}" height="44" rx="6" class="b"/>
<text x="36" y="{bar + 27}"><tspan class="t">One gate, one record:</tspan> authenticate, authorise (Cedar), act, write to a
 tamper-evident log. The keeper alone holds the keys.</text>
</svg>
"""


if __name__ == "__main__":
    Path(__file__).with_name("walls.svg").write_text(picture())
