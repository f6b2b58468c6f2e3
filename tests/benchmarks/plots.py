"""Line charts as SVG, for docs/figures.md."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from tests.function import ROOT

FOLDER = ROOT / "docs" / "plots"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 320, 60, 40, 30, 150
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a", "#bf3989")
TICKS = 5

Points = Sequence[tuple[float, float]]


def draw(name: str, title: str, axes: tuple[str, str], lines: Mapping[str, Points]) -> str:
    """Draw lines into docs/plots; give what Markdown shows of them.

    Args:
        name: of the file, without its ending.
        title: what stands above.
        axes: what the horizontal one and the vertical one count; both begin at 0.
        lines: points by name of the line.
    """
    most_x = _round(max(x for points in lines.values() for x, _ in points))
    most_y = _round(max(y for points in lines.values() for _, y in points))

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return round(LEFT + across * x / most_x, 1), round(HEIGHT - BOTTOM - up * y / most_y, 1)

    parts = [_text(WIDTH / 2, 18, title, "middle"), _text(at(most_x, 0)[0], HEIGHT - 6, axes[0], "end")]
    parts.append(_text(8, TOP - 6, axes[1], "start"))
    for tick in range(TICKS + 1):
        x, y = most_x * tick / TICKS, most_y * tick / TICKS
        parts.append(_text(at(x, 0)[0], HEIGHT - BOTTOM + 16, f"{x:,.4g}", "middle"))
        parts.append(_text(LEFT - 6, at(0, y)[1] + 4, f"{y:,.4g}", "end"))
        (x1, y1), (x2, _) = at(0, y), at(most_x, y)
        parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y1}" stroke="#d0d7de"/>')
    for number, (label, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        joined = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(WIDTH - RIGHT + 10, TOP + 18 * number + 10, label, "start", colour))
    FOLDER.mkdir(exist_ok=True)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    sheet = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    (FOLDER / f"{name}.svg").write_text("\n".join([head, sheet, *parts, "</svg>", ""]))
    return f"![{title}](plots/{name}.svg)"


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#24292f") -> str:
    return f'<text x="{x}" y="{y}" font-size="12" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _round(number: float) -> float:
    """Give the next number that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** len(str(int(number)))
    return min(part * power for part in (0.1, 0.2, 0.5, 1.0) if part * power >= number)
