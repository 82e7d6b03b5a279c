"""Colours and axes that the charts share."""

from matplotlib.axes import Axes

# Of Okabe and Ito's palette for colour-blind readers, for charts on white.
BLUE, VERMILLION = "#0072b2", "#d55e00"


def plain_axes(axes: Axes) -> None:
    """A faint grid, and no frame at the top and on the right."""
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)


def counted(cases: int, of: int) -> str:
    """A chart's title: how many cases it shows, and how many of all were left out."""
    return f"{cases} cases" + (f", {of - cases} more left out as undefined" if cases < of else "")
