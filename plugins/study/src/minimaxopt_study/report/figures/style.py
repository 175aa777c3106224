"""Colours, headline and file format of all figures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision tell apart.
BLUE, GREEN, VERMILION, INK, GREY = "#0072B2", "#009E73", "#D55E00", "#1a1a1a", "#8a8a8a"
DOTS_PER_INCH = 160


def headline(figure: Figure, text: str) -> None:
    """Write the figure's title over all its panels, from the left."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
