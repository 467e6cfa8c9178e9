"""How the plots of a study look: themes, the marks of an arm, labels, and the rendering.

Every plot is drawn twice, for light and for dark pages, with the same marks: colour (Okabe and Ito
2008, chosen to survive colour blindness), marker and line style each tell the arms apart alone.
"""

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DPI = 150
_MARKERS = "osD^vPX*"
_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


@dataclass(frozen=True)
class Theme:
    """Colours of a page: its ink, its paper, and one colour per arm."""

    ink: str
    faint: str
    paper: str
    colours: tuple[str, ...]


LIGHT = Theme(
    ink="#22262b",
    faint="#d5d9de",
    paper="#ffffff",
    colours=(
        "#4d4d4d",
        "#0072B2",
        "#E69F00",
        "#009E73",
        "#D55E00",
        "#CC79A7",
        "#56B4E9",
        "#B5A700",
    ),
)
DARK = Theme(
    ink="#e4e7eb",
    faint="#3b424b",
    paper="#171a1f",
    colours=(
        "#c9ced6",
        "#3E9BD6",
        "#E69F00",
        "#1FBF92",
        "#F0803A",
        "#DE97BE",
        "#8CCDF2",
        "#F0E442",
    ),
)


@dataclass(frozen=True)
class Plot:
    """A drawn figure: its file name, what it shows in words, and its bytes for both themes."""

    name: str
    caption: str
    light: bytes
    dark: bytes

    def save(self, folder: Path) -> Path:
        """Writes the light figure as ``<name>.png`` into the folder and returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.png"
        path.write_bytes(self.light)
        return path

    def data_uri(self, *, dark: bool = False) -> str:
        """Gives the figure as a ``data:`` address, for a page that needs no other file."""
        encoded = base64.b64encode(self.dark if dark else self.light).decode("ascii")
        return f"data:image/png;base64,{encoded}"

    def __str__(self) -> str:
        return f"{self.name}: {self.caption} ({(len(self.light) + 1023) // 1024} KiB)"


def looks_of(arms: Sequence[str], drawn: Iterable[str]) -> dict[str, int]:
    """Numbers the arms; what is drawn must be among them."""
    unknown = [arm for arm in drawn if arm not in arms]
    if unknown:
        raise ValueError(f"arms to draw that are none of the study's: {unknown}; it has {[*arms]}")
    return {arm: index for index, arm in enumerate(arms)}


def look(index: int, theme: Theme) -> tuple[str, Any, str]:
    """Gives an arm's colour, line style and marker; the eighth arm on repeats colours only."""
    n = len(theme.colours)
    style = _STYLES[(index + index // n) % len(_STYLES)]
    return theme.colours[index % n], style, _MARKERS[(index + index // n) % len(_MARKERS)]


def label_ends(axes: Any, ends: list[tuple[str, float, float, str]], theme: Theme) -> None:
    """Writes every arm's name beside its line's end, moved apart where they would overlap."""
    if not ends:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ends = sorted(ends, key=lambda end: end[2])
    placed = spread([(value - low) / (high - low) for _, _, value, _ in ends], gap=0.068)
    for (arm, x, y, colour), height in zip(ends, placed, strict=True):
        axes.annotate(
            arm,
            xy=(x, y),
            xycoords="data",
            xytext=(1.05, height),
            textcoords="axes fraction",
            va="center",
            color=theme.ink,
            fontsize=10,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 1.4,
                "shrinkA": 1,
                "shrinkB": 1,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def spread(heights: Sequence[float], *, gap: float) -> list[float]:
    """Moves ascending heights in [0, 1] to be at least a gap apart, each cluster about its mean."""
    clusters: list[list[float]] = []  # [sum of wished lowest places, members, lowest place]
    for height in heights:
        clusters.append([height, 1, height])
        while True:
            wished, members, _ = clusters[-1]
            top = 1.0 - gap * (members - 1)
            clusters[-1][2] = max(0.0, min(wished / members, top))
            if len(clusters) == 1 or clusters[-2][2] + gap * clusters[-2][1] <= clusters[-1][2]:
                break
            wished, members, _ = clusters.pop()
            # A member k places up wishes the cluster's lowest place k gaps below itself.
            clusters[-1][0] += wished - members * clusters[-1][1] * gap
            clusters[-1][1] += members
    return [low + gap * i for _, members, low in clusters for i in range(int(members))]


def legend(axes: Any, looks: Mapping[str, int], theme: Theme) -> None:
    """Puts a legend of colour patches outside, to the right."""
    from matplotlib.patches import Patch

    patches = [Patch(color=look(i, theme)[0], label=arm) for arm, i in looks.items()]
    axes.legend(
        handles=patches,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
        frameon=False,
        labelcolor=theme.ink,
        fontsize=10,
        handlelength=1.0,
    )


def draw_twice(name: str, caption: str, draw: Callable[[Any, Theme], None]) -> Plot:
    """Renders a drawing under both themes."""
    return Plot(name, caption, _render(draw, LIGHT), _render(draw, DARK))


def _render(draw: Callable[[Any, Theme], None], theme: Theme) -> bytes:
    """Draws on one axes of the house's style and returns the PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it keeps global state and may choose a backend with windows.
    figure = Figure(figsize=(7.0, 4.0), dpi=DPI, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.14, 0.62, 0.83), facecolor=theme.paper)
    axes.grid(axis="y", color=theme.faint, lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(theme.faint)
    axes.tick_params(colors=theme.ink, labelsize=10, color=theme.faint)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(theme.ink)
        axis.label.set_fontsize(10.5)
    draw(axes, theme)
    stream = io.BytesIO()
    figure.savefig(
        stream,
        format="png",
        dpi=DPI,
        facecolor=theme.paper,
        bbox_inches="tight",
        pad_inches=0.12,
        metadata={"Software": None},
    )
    return stream.getvalue()
