"""Small charts as SVG text: scales, ticks and a frame with axes. Every text is escaped."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Categories", "Frame", "Scale", "spans_decades", "tag", "value_scale"]

TICKS = 5
"""Number of ticks of an axis, roughly."""
LABEL = 11
"""Characters after which the label of a tick is cut off."""


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Returns an element; attributes are escaped, the content is written as it is.

    >>> tag("circle", r=3, class_="dot", stroke_width=2, data_job="<1>")
    '<circle r="3" class="dot" stroke-width="2" data-job="&lt;1&gt;"/>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def spans_decades(values: Sequence[float]) -> bool:
    """Checks that numbers are positive and span a factor of ten or more, so that a logarithmic axis shows them better.

    >>> spans_decades([1e-4, 1e-3]), spans_decades([0, 10]), spans_decades([2, 9])
    (True, False, False)
    """
    return bool(values) and min(values) > 0 and max(values) / min(values) >= 10 * (1 - 1e-9)


@dataclass(frozen=True)
class Scale:
    """From numbers to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    """Pixel of the lowest number."""
    end: float
    """Pixel of the highest number."""
    is_log: bool = False
    marks: tuple[float, ...] = ()
    """Numbers to label; none: round numbers."""

    def __call__(self, value: float) -> float:
        """Returns the pixel of a number; numbers outside lie outside.

        >>> Scale(1, 100, 0, 200, is_log=True)(10)
        100.0
        """
        low, high, value = map(self._place, (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Returns the numbers to label and their labels: `marks`, or 1, 2, 5 and their tens.

        >>> [label for _, label in Scale(0, 1, 0, 100).ticks()]
        ['0', '0.2', '0.4', '0.6', '0.8', '1']
        >>> [label for _, label in Scale(1e-4, 1e-2, 0, 100, is_log=True).ticks()]
        ['0.0001', '0.001', '0.01']
        """
        numbers = self.marks or (self._log_ticks() if self.is_log else self._linear_ticks())
        return [(number, f"{number:g}") for number in numbers]

    def _place(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.is_log else value

    def _linear_ticks(self) -> Sequence[float]:
        rough = (self.high - self.low) / TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{i * step:.10g}") for i in range(first, last + 1)]

    def _log_ticks(self) -> Sequence[float]:
        first, last = math.floor(math.log10(self.low) + 1e-9), math.ceil(math.log10(self.high) - 1e-9)
        every = -(-(last - first) // (TICKS + 1)) or 1
        factors = (1, 2, 5) if last - first <= 1 else (1,)
        found = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
        return [number for number in found if self.low * (1 - 1e-9) <= number <= self.high * (1 + 1e-9)]


@dataclass(frozen=True)
class Categories:
    """From texts to pixels, evenly spaced."""

    names: Sequence[str]
    start: float
    end: float

    def __call__(self, name: str) -> float:
        """Returns the pixel of a text.

        >>> Categories(["adam", "sgd"], 0, 100)("sgd")
        75.0
        """
        return self.start + (self.end - self.start) * (self.names.index(name) + 0.5) / len(self.names)

    def ticks(self) -> list[tuple[str, str]]:
        """Returns each text and its label."""
        return [(name, name if len(name) <= LABEL else f"{name[: LABEL - 1]}…") for name in self.names]


def value_scale(values: Sequence[float], start: float, end: float, *, margin: float = 0.06) -> Scale:
    """Returns a scale on which all values have room, logarithmic if they span two decades.

    Arguments:
        values: finite numbers.
        start, end: pixels.
        margin: room at each end, as a fraction of the range.
    """
    low, high = min(values), max(values)
    if low > 0 and high / low >= 100:
        factor = (high / low) ** margin
        return Scale(low / factor, high * factor, start, end, is_log=True)
    room = (high - low) * margin if high > low else abs(high) * 0.1 or 1.0
    return Scale(low - room, high + room, start, end)


@dataclass(frozen=True)
class Frame:
    """The area of a chart in pixels."""

    width: float
    height: float
    left: float = 64
    right: float = 14
    top: float = 12
    bottom: float = 46

    @property
    def across(self) -> tuple[float, float]:
        """First and last pixel of the horizontal axis."""
        return self.left, self.width - self.right

    @property
    def up(self) -> tuple[float, float]:
        """First and last pixel of the vertical axis, from below."""
        return self.height - self.bottom, self.top

    def axes(self, x: Scale | Categories, y: Scale, x_label: str, y_label: str) -> str:
        """Returns both axes with grid lines, ticks and labels."""
        (left, right), (below, above) = self.across, self.up
        parts = []
        for value, label in y.ticks():
            place = round(y(value), 1)
            parts.append(tag("line", x1=left, x2=right, y1=place, y2=place, class_="grid"))
            parts.append(tag("text", html.escape(label), x=left - 6, y=round(place + 4, 1), class_="tick end"))
        for name, label in x.ticks():
            place = round(x(name), 1)  # type: ignore[arg-type]
            parts.append(tag("line", x1=place, x2=place, y1=below, y2=below + 4, class_="mark"))
            parts.append(tag("text", html.escape(label), x=place, y=below + 17, class_="tick middle"))
        parts.append(tag("line", x1=left, x2=right, y1=below, y2=below, class_="mark"))
        middle = (left + right) / 2
        parts.append(tag("text", html.escape(x_label), x=middle, y=self.height - 8, class_="label middle"))
        turned = f"translate(12 {(below + above) / 2:.1f}) rotate(-90)"
        parts.append(tag("text", html.escape(y_label), transform=turned, class_="label middle"))
        return "".join(parts)

    def svg(self, content: str, label: str) -> str:
        """Returns the picture.

        Arguments:
            content: its elements.
            label: what it shows, for readers who do not see it.
        """
        box = f"0 0 {self.width:g} {self.height:g}"
        return tag("svg", content, viewBox=box, role="img", aria_label=label, xmlns="http://www.w3.org/2000/svg")


def _attribute(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return html.escape(text, quote=True)
