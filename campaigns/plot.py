"""A line chart as SVG, for the long campaigns."""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 900, 300, 60, 40, 40
_COLOURS = ("#3b6ea5", "#c0562f", "#4f8a4b", "#8a5ea8", "#777777")
_POINTS_MAX = 800


def line_chart(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw lines of (x, y), x from the smallest and y from 0."""
    points = [point for line in lines.values() for point in line]
    x_min, x_max = min(x for x, _ in points), max(x for x, _ in points)
    y_max = max(y for _, y in points) * 1.1
    x_scale = (_WIDTH - _LEFT - 20) / ((x_max - x_min) or 1)
    y_scale = (_HEIGHT - _TOP - _BOTTOM) / y_max

    def place(x: float, y: float) -> str:
        return f"{_LEFT + (x - x_min) * x_scale:.1f},{_HEIGHT - _BOTTOM - y * y_scale:.1f}"

    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        f' font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>'
    )
    parts = [head]
    for step in range(5):
        value = y_max * step / 4
        y = _HEIGHT - _BOTTOM - value * y_scale
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.0f}</text>')
        x = x_min + (x_max - x_min) * step / 4
        left = _LEFT + (x - x_min) * x_scale
        parts.append(f'<text x="{left:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{x:.0f}</text>')
    for index, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        shown = line[:: max(1, len(line) // _POINTS_MAX)]
        path = " ".join(place(x, y) for x, y in shown)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{_WIDTH - 20 - 80 * index}" y="20" text-anchor="end" fill="{colour}">{name}</text>')
    return "".join(parts) + "</svg>\n"
