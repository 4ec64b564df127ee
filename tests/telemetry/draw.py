"""Draws a trace that a collector received: KEEP_TRACE=trace.json cargo test --test telemetry over_http, then
python3 tests/telemetry/draw.py trace.json deploy/trace.png (chromium makes the picture)."""

import html
import json
import pathlib
import subprocess
import sys
import tempfile

WIDTH, ROW, LEFT, RIGHT, TOP = 1100, 34, 330, 150, 64
COLOURS = {"one": "#2f6fb3", "two": "#c2611f"}


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])}


def rows(spans, parent, depth=0):
    """The spans below a parent, in the order of the tree."""
    for entry in sorted(spans, key=lambda entry: int(entry["span"]["startTimeUnixNano"])):
        if entry["span"].get("parentSpanId", "") == parent:
            yield depth, entry
            yield from rows(spans, entry["span"]["spanId"], depth + 1)


def draw(spans):
    ids = {entry["span"]["spanId"] for entry in spans}
    root = next(e["span"].get("parentSpanId", "") for e in spans if e["span"].get("parentSpanId", "") not in ids)
    begin = min(int(e["span"]["startTimeUnixNano"]) for e in spans)
    end = max(int(e["span"]["endTimeUnixNano"]) for e in spans)
    scale = (WIDTH - LEFT - RIGHT) / max(end - begin, 1)
    height = TOP + ROW * len(spans) + 30
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="26" font-size="15">trace {spans[0]["span"]["traceId"]}, {(end - begin) / 1e6:.2f} ms</text>',
    ]
    for n, (instance, colour) in enumerate(COLOURS.items()):
        out.append(f'<rect x="{16 + n * 110}" y="38" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{34 + n * 110}" y="49">replica {instance}</text>')
    for n, (depth, entry) in enumerate(rows(spans, root)):
        span, y = entry["span"], TOP + n * ROW
        start, stop = int(span["startTimeUnixNano"]) - begin, int(span["endTimeUnixNano"]) - begin
        x, width = LEFT + start * scale, max((stop - start) * scale, 3)
        facts = attributes(span)
        keys = ("chat.message.seq", "chat.sessions", "chat.delivered.bytes", "chat.since_commit_ms",
                "db.operation.batch.size", "messaging.message.body.size")
        note = ", ".join(f"{key.removeprefix('chat.')} {facts[key]}" for key in keys if key in facts)
        if n % 2 == 0:
            out.append(f'<rect x="0" y="{y}" width="{WIDTH}" height="{ROW}" fill="#f5f6f8"/>')
        out.append(f'<text x="{16 + depth * 18}" y="{y + 15}">{html.escape(span["name"])}</text>')
        out.append(f'<text x="{16 + depth * 18}" y="{y + 29}" font-size="10" fill="#666">{html.escape(note)}</text>')
        colour = COLOURS.get(entry["instance"], "#777")
        out.append(f'<rect x="{x:.1f}" y="{y + 8}" width="{width:.1f}" height="18" rx="2" fill="{colour}"/>')
        out.append(f'<text x="{x + width + 6:.1f}" y="{y + 22}" font-size="11">at {start / 1e6:.2f} ms, {(stop - start) / 1e6:.2f} ms</text>')
    out.append("</svg>")
    return "\n".join(out), height


def main():
    source, target = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    svg, height = draw(json.loads(pathlib.Path(source).read_text()))
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder, "trace.html")
        page.write_text(f'<body style="margin:0">{svg}</body>')
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
             f"--window-size={WIDTH},{height}", f"--screenshot={target}", page.as_uri()],
            check=True, capture_output=True, timeout=60)


main()
