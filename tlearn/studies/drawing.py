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
WIDTH, HEIGHT = 7.0, 4.0
"""Inches of a figure before the room beside the axes that is not needed is cut away."""
_BELOW, _ABOVE = 0.56, 0.12
_LINE, _BETWEEN = 0.155, 0.07
"""Inches of a line of a label, and between two labels."""
_COLOURS = 64
_MARKERS = "osD^vPX*"
_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


@dataclass(frozen=True)
class Theme:
    """Colours of a page: its ink, its paper, and one colour per arm."""

    ink: str
    faint: str
    wash: str
    """A tone above the paper."""
    paper: str
    on_strong: str
    """Ink on the strongest of shades."""
    colours: tuple[str, ...]


LIGHT = Theme(
    ink="#22262b",
    faint="#d5d9de",
    wash="#eef3f7",
    paper="#ffffff",
    on_strong="#ffffff",
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
    wash="#20262e",
    paper="#171a1f",
    on_strong="#0d1013",
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


def plain(text: str) -> str:
    """Keeps dollar signs from being read as mathematics."""
    return text.replace("$", r"\$")


def wrapped(name: str, width: int = 26, lines: int = 2) -> str:
    """Breaks a name into a few lines, its middle left out where it is too long for them."""
    import textwrap

    most = width * lines - lines
    if len(name) > most:
        name = f"{name[: most * 2 // 3].rstrip()} … {name[len(name) - most // 4 :].lstrip()}"
    return plain("\n".join(textwrap.wrap(name, width)[:lines]))


def height_for(names: Iterable[str]) -> float:
    """Gives the height of a figure in which all names have room beside the axes."""
    room = [_BETWEEN + _LINE * (1 + wrapped(name).count("\n")) for name in names]
    return max(HEIGHT, len(room) * max(room, default=0.0) + _BELOW + _ABOVE)


def label_ends(axes: Any, ends: list[tuple[str, float, float, str]], theme: Theme) -> None:
    """Writes every arm's name beside its line's end, moved apart where they would overlap."""
    if not ends:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ends = sorted(ends, key=lambda end: end[2])
    lines = max(1 + wrapped(arm).count("\n") for arm, *_ in ends)
    inches = axes.get_position().height * axes.get_figure().get_figheight()
    gap = (_BETWEEN + _LINE * lines) / inches
    placed = spread([(value - low) / (high - low) for _, _, value, _ in ends], gap=gap)
    for (arm, x, y, colour), height in zip(ends, placed, strict=True):
        axes.annotate(
            wrapped(arm),
            xy=(x, y),
            xycoords="data",
            xytext=(1.05, height),
            textcoords="axes fraction",
            va="center",
            color=theme.ink,
            fontsize=10,
            linespacing=1.1,
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


def legend(axes: Any, looks: Mapping[str, int], theme: Theme, *, marked: bool = False) -> None:
    """Puts a legend outside, to the right: patches of colour, or the arms' markers."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for arm, index in looks.items():
        colour, _, marker = look(index, theme)
        kind = {"color": colour, "marker": marker, "lw": 0, "markersize": 7}
        label = wrapped(arm)
        handles.append(
            Line2D([], [], label=label, **kind) if marked else Patch(color=colour, label=label)
        )
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
        frameon=False,
        labelcolor=theme.ink,
        fontsize=10,
        handlelength=1.0,
    )


def draw_twice(
    name: str, caption: str, draw: Callable[[Any, Theme], None], *, height: float = HEIGHT
) -> Plot:
    """Renders a drawing under both themes."""
    return Plot(name, caption, _render(draw, LIGHT, height), _render(draw, DARK, height))


def _render(draw: Callable[[Any, Theme], None], theme: Theme, height: float) -> bytes:
    """Draws on one axes of the house's style and returns the PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it keeps global state and may choose a backend with windows.
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    inside = (0.1, _BELOW / height, 0.62, 1 - (_BELOW + _ABOVE) / height)
    axes = figure.add_axes(inside, facecolor=theme.paper)
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
    return _small(stream.getvalue())


def _small(png: bytes) -> bytes:
    """Stores a picture with a palette of its commonest colours, in a fraction of the bytes.

    The commonest are the paper, the lines and the bands, which so stay exact; shades at their edges
    go to the nearest of them.
    """
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(png)) as opened:
        pixels = np.asarray(opened.convert("RGB"), np.int32)
    packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    shades, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    split = np.stack([shades >> 16, (shades >> 8) & 255, shades & 255], axis=1)
    kept = split[np.argsort(-counts, kind="stable")[:_COLOURS]]
    # Shade by shade to the nearest: |a − b|² without |a|², which is the same for all b.
    far = (kept**2).sum(axis=1)[None] - 2 * split @ kept.T
    places = far.argmin(axis=1).astype(np.uint8)[inverse.reshape(packed.shape)]
    few = Image.fromarray(places)
    few.putpalette(kept.astype(np.uint8).tobytes())
    stream = io.BytesIO()
    few.save(stream, format="png", optimize=True, dpi=(DPI, DPI))
    return stream.getvalue()
