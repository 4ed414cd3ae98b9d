"""The charts of a sweep's page: metric against a key, curves, parallel coordinates, spread of a group."""

import html
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from partoken.report.svg import Categories, Frame, Scale, spans_decades, tag, value_scale

__all__ = ["COLORS", "curve_chart", "group_color", "key_chart", "parallel_chart", "rate_chart"]
__all__ += ["spread_chart"]

COLORS = ("#1f5f8b", "#d1603d", "#3f8f5f", "#8a5fa3", "#b8892b", "#3a9fb0", "#a84f6f", "#5a6b2f")
"""One for each of the first groups; further groups are grey."""
OTHERS, INK = "#b9bec4", "#22303a"
BEST, WORST = "#d1603d", "#c98b86"
PALE, DARK = (205, 219, 229), (13, 74, 117)
"""Colours of the worst and the best value."""
MAX_MARKS = 7
"""Number of different values of a key up to which each of them is labelled."""
MAX_LINES = 6
"""Number of combinations of the other keys up to which each of them has a line of means."""
MAX_MEANS = 12
"""Number of different values of a key up to which the mean at each of them is drawn."""
GAP = 40
"""Pixels between two labels."""

Job = Mapping[str, Any]
Line = Mapping[str, Any]


def group_color(number: int) -> str:
    """Returns the colour of a group.

    Arguments:
        number: its rank, from 0.
    """
    return COLORS[number] if number < len(COLORS) else OTHERS


def key_chart(content: Mapping[str, Any], key: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """Draws the metric against a key: a point for each finished job, and means.

    If the other keys have few combinations, each has its own colour and its own line of means; otherwise there is one
    line. Diverged and failed jobs are crosses below the axis of values.

    Arguments:
        content: of the page.
        key: one of its keys.

    Returns:
        The picture, and colour and label of each line.
    """
    jobs = content["jobs"]
    finished = [job for job in jobs if job["state"] == "finished" and job["value"] is not None]
    worst = [job for job in jobs if job["is_worst"]]
    if not finished:
        return "", []
    frame = Frame(480, 300, bottom=62 if worst else 46)
    if len({job["values"][key["name"]] for job in finished}) < 2:
        return "", []
    place, x = _key_scale(key["name"], finished, worst, frame)
    y = value_scale([job["value"] for job in finished], *frame.up)
    label_of = _combinations(content, key["name"], finished)
    labels = list(dict.fromkeys(label_of(job) for job in finished))
    has_colors = labels != [""] and len(labels) <= MAX_LINES
    colors = {label: COLORS[i] for i, label in enumerate(labels)} if has_colors else {}
    parts = [frame.axes(x, y, key["name"], content["metric"])]
    for job in finished:
        at = place(job)
        if isinstance(x, Categories):
            at += _offset(labels.index(label_of(job)), len(labels)) if colors else _scatter(job["number"])
        parts.append(_point(job, round(at, 1), round(y(job["value"]), 1), colors.get(label_of(job), COLORS[0])))
    for label in labels if colors else [""]:
        own = [job for job in finished if not colors or label_of(job) == label]
        parts.append(_mean_line(own, place, y, colors.get(label, INK)))
    parts += [_cross(job, round(place(job), 1), frame.height - 30) for job in worst]
    legend = [(color, label) for label, color in colors.items()]
    return frame.svg("".join(parts), f"{content['metric']} against {key['name']}"), legend


def curve_chart(lines: Sequence[Line], name: str, x_label: str) -> str:
    """Draws curves of several jobs over one another, the best one on top; diverged and failed jobs are dashed.

    Arguments:
        lines: `number`, `group`, `is_worst` and `points`, best first.
        name: of the values.
        x_label: name of the horizontal axis.
    """
    frame = Frame(480, 300)
    return _curves(lines, value_scale(_heights(lines), *frame.up), frame, name, x_label)


def rate_chart(lines: Sequence[Line]) -> str:
    """Draws learning rates by optimizer step, with a logarithmic axis if the peaks span a factor of ten.

    Arguments:
        lines: as of `curve_chart`.
    """
    frame = Frame(480, 300)
    y = value_scale([0.0, *_heights(lines)], *frame.up, margin=0.04)
    peaks = [max(point[1] for point in line["points"]) for line in lines if not line["is_worst"]]
    if spans_decades(peaks):  # a rate that goes to 0 leaves the picture below
        y = Scale(min(peaks) / 30, max(peaks) * 1.5, *frame.up, is_log=True)
    return _curves(lines, y, frame, "learning rate", "optimizer step")


def _heights(lines: Sequence[Line]) -> list[float]:
    """Returns the values of all curves; those of diverged and failed jobs only if there are no others."""
    steady = [line for line in lines if not line["is_worst"]] or lines
    return [point[1] for line in steady for point in line["points"]]


def _curves(lines: Sequence[Line], y: Scale, frame: Frame, name: str, x_label: str) -> str:
    x_values = [point[0] for line in lines for point in line["points"]]
    low, high = min(x_values), max(x_values)
    room = (high - low) * 0.02 or 0.5
    x = Scale(low - room, high + room, *frame.across)
    parts = [frame.axes(x, y, x_label, name)]
    limits = frame.up[0] + 8, frame.up[1] - 8  # a curve that leaves the picture is cut off there
    for line in reversed(lines):
        points = [(round(x(a), 1), round(min(max(y(b), limits[1]), limits[0]), 1)) for a, b in line["points"]]
        color = group_color(line["group"])
        parts.append(_path(line["number"], line["group"], points, color, is_dashed=line["is_worst"]))
    return frame.svg("".join(parts), f"{name} of {len(lines)} jobs")


def parallel_chart(content: Mapping[str, Any]) -> str:
    """Draws each job as a line through an axis for each key and one for the metric, darker if it is better.

    Arguments:
        content: of the page.
    """
    keys = [key for key in content["keys"] if not key["is_seed"]]
    jobs = [job for job in content["jobs"] if job["is_worst"] or job["value"] is not None]
    values = [job["value"] for job in jobs if job["value"] is not None]
    if not keys or not values:
        return ""
    frame = Frame(max(1140, 130 * (len(keys) + 1)), 330, left=100, right=120, top=34, bottom=16)
    below, above = frame.up
    floor = below - 26 if any(job["is_worst"] for job in jobs) else below
    scales = [_upright(key["name"], jobs, frame) for key in keys]
    metric = value_scale(values, floor, above, margin=0.0)
    step = (frame.across[1] - frame.across[0]) / len(keys)
    parts = []
    order = sorted(jobs, key=lambda job: (not job["is_worst"], _quality(job["value"], values, content["direction"])))
    for job in order:
        heights = [place(job) for place, _ in scales]
        heights.append(metric(job["value"]) if job["value"] is not None else below)
        points = [(round(frame.left + i * step, 1), round(height, 1)) for i, height in enumerate(heights)]
        color = WORST if job["is_worst"] else _shade(_quality(job["value"], values, content["direction"]))
        color = BEST if job["is_best"] else color
        style = {"is_dashed": job["is_worst"], "is_best": job["is_best"]}
        parts.append(_path(job["number"], job["group"], points, color, **style))
    axes = [(key["short"], ticks) for key, (_, ticks) in zip(keys, scales, strict=True)]
    for i, (name, ticks) in enumerate([*axes, (content["metric"], _pixels(metric))]):
        parts.append(_upright_axis(round(frame.left + i * step, 1), frame, name, ticks, is_last=i == len(keys)))
    if floor != below:
        text = tag("text", "diverged, failed", x=frame.across[1] + 8, y=below + 4, class_="tick")
        parts.append(text)
    return frame.svg("".join(parts), f"parallel coordinates of {len(jobs)} jobs")


def spread_chart(jobs: Sequence[Job], group: Mapping[str, Any], limits: tuple[float, float]) -> str:
    """Draws the metric of each finished job of a group as a point, with mean and standard deviation.

    Arguments:
        jobs: of the group.
        group: with its `mean` and `deviation`.
        limits: lowest and highest metric of the sweep.
    """
    width, middle = 180.0, 10.0
    low, high = limits
    x = Scale(low, high if high > low else low + 1, 6, width - 6)
    parts = [tag("line", x1=0, x2=width, y1=middle, y2=middle, class_="grid")]
    if group["mean"] is not None and group["deviation"] is not None:
        ends = [round(min(max(x(group["mean"] + sign * group["deviation"]), 0), width), 1) for sign in (-1, 1)]
        parts.append(tag("line", x1=ends[0], x2=ends[1], y1=middle, y2=middle, class_="deviation"))
    color = BEST if group["is_best"] else COLORS[0]
    finished = [job for job in jobs if job["state"] == "finished" and job["value"] is not None]
    parts += [_point(job, round(x(job["value"]), 1), middle, color) for job in finished]
    if group["mean"] is not None:
        at = round(x(group["mean"]), 1)
        parts.append(tag("line", x1=at, x2=at, y1=3, y2=17, class_="mean"))
    return tag("svg", "".join(parts), viewBox=f"0 0 {width:g} 20", class_="spread", role="img", aria_label="spread")


def _key_scale(
    name: str, jobs: Sequence[Job], worst: Sequence[Job], frame: Frame
) -> tuple[Callable[[Job], float], Scale | Categories]:
    """Returns the place of a job on the horizontal axis, and the axis: numbers, or categories in a sensible order.

    The numbers of diverged and failed jobs may lie far away, so the axis ends where the other jobs end.
    """
    if None in [job["numbers"][name] for job in [*jobs, *worst]]:
        texts = Categories(_ordered_texts(name, [*jobs, *worst]), *frame.across)
        return (lambda job: texts(job["values"][name])), texts
    left, right = frame.across
    scale = _scale_of_key([job["numbers"][name] for job in jobs], left + 14, right - 14)
    return (lambda job: min(max(scale(job["numbers"][name]), left + 4), right - 4)), scale


def _scale_of_key(numbers: Sequence[float], start: float, end: float) -> Scale:
    is_log = spans_decades(numbers)
    scale = Scale(min(numbers), max(numbers), start, end, is_log)
    distinct = sorted(set(numbers))
    if len(distinct) > MAX_MARKS:
        return scale
    kept: list[float] = []
    for number in distinct:
        if not kept or abs(scale(number) - scale(kept[-1])) >= min(GAP, abs(end - start)):
            kept.append(number)
    return Scale(scale.low, scale.high, start, end, is_log, tuple(kept))


def _ordered_texts(name: str, jobs: Sequence[Job]) -> list[str]:
    """Returns the values of a key: numbers in their order, then texts in theirs."""
    found = {job["values"][name]: job["numbers"][name] for job in jobs}
    return sorted(found, key=lambda text: (found[text] is None, found[text] or 0.0, text))


def _combinations(content: Mapping[str, Any], name: str, jobs: Sequence[Job]) -> Callable[[Job], str]:
    """Returns the label of a job: the values of the other keys that differ between these jobs, without the seed."""
    others = [key for key in content["keys"] if key["name"] != name and not key["is_seed"]]
    others = [key for key in others if len({job["values"][key["name"]] for job in jobs}) > 1]

    def label(job: Job) -> str:
        return ", ".join(f"{key['short']}={job['values'][key['name']]}" for key in others)

    by_label: dict[str, set[str]] = {}
    for job in jobs:
        by_label.setdefault(label(job), set()).add(job["values"][name])
    # A line needs two values; in a random search no two jobs share a combination.
    has_lines = sum(len(values) > 1 for values in by_label.values()) * 2 >= len(by_label)
    return label if has_lines else lambda job: ""


def _mean_line(jobs: Sequence[Job], place: Callable[[Job], float], y: Scale, color: str) -> str:
    """Draws the mean at each value of a key, joined by a line; nothing if there are too many values."""
    at: dict[float, list[float]] = {}
    for job in jobs:
        at.setdefault(round(place(job), 1), []).append(job["value"])
    if len(jobs) < 2 or len(at) > MAX_MEANS:
        return ""
    means = sorted((x, round(y(statistics.fmean(values)), 1)) for x, values in at.items())
    line = tag("path", d=_d(means), stroke=color, class_="means")
    bars = [tag("line", x1=x - 7, x2=x + 7, y1=height, y2=height, stroke=color, class_="mean") for x, height in means]
    return line + "".join(bars)


def _offset(i: int, num: int) -> float:
    """Returns the pixels by which the points of a colour stand beside a category."""
    return (i - (num - 1) / 2) * 6.0


def _scatter(number: int) -> float:
    """Returns pixels between -15 and 15 that spread the points of a category, the same in each page."""
    return (number * 0.618034 % 1 - 0.5) * 30


def _point(job: Job, x: float, y: float, color: str) -> str:
    return tag("circle", _title(job), cx=x, cy=y, r=4, fill=color, class_="point", data_job=job["number"])


def _cross(job: Job, x: float, y: float) -> str:
    d = f"M{x - 4:g} {y - 4:g}l8 8m0-8l-8 8"
    return tag("path", _title(job), d=d, class_="cross", data_job=job["number"])


def _title(job: Job) -> str:
    value = job["state"] if job["value"] is None else f"{job['value']:.4g}"
    listed = ", ".join(f"{name}={text}" for name, text in job["values"].items())
    return tag("title", html.escape(f"job {job['number']}: {value}; {listed}"))


def _path(
    number: int,
    group: int,
    points: Sequence[tuple[float, float]],
    color: str,
    *,
    is_dashed: bool = False,
    is_best: bool = False,
) -> str:
    """Draws a line of a job, with a wider one that is not seen but can be pointed at."""
    if len(points) == 1:  # a run of a single epoch
        points = [points[0], (points[0][0] + 0.1, points[0][1])]
    style = " ".join(["line", *(["dashed"] if is_dashed else []), *(["best"] if is_best else [])])
    paths = tag("path", d=_d(points), class_="target") + tag("path", d=_d(points), stroke=color, class_=style)
    return tag("g", tag("title", f"job {number}") + paths, data_job=number, data_group=group)


def _d(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _upright(name: str, jobs: Sequence[Job], frame: Frame) -> tuple[Callable[[Job], float], list[tuple[float, str]]]:
    """Returns the height of a job on the axis of a key, and the ticks of the axis."""
    below, above = frame.up
    steady = [job["numbers"][name] for job in jobs if not job["is_worst"]]
    if None in [job["numbers"][name] for job in jobs] or len(set(steady)) < 2:
        texts = Categories(_ordered_texts(name, jobs), below, above)
        return (lambda job: texts(job["values"][name])), [(texts(text), label) for text, label in texts.ticks()]
    scale = _scale_of_key(steady, below - 16, above + 8)
    return (lambda job: min(max(scale(job["numbers"][name]), above), below)), _pixels(scale)


def _pixels(scale: Scale) -> list[tuple[float, str]]:
    return [(scale(value), label) for value, label in scale.ticks()]


def _upright_axis(x: float, frame: Frame, name: str, ticks: Sequence[tuple[float, str]], *, is_last: bool) -> str:
    below, above = frame.up
    parts = [tag("line", x1=x, x2=x, y1=below, y2=above, class_="mark")]
    side = {"x": x + 8, "class_": "tick halo"} if is_last else {"x": x - 8, "class_": "tick end halo"}
    for height, label in ticks:
        parts.append(tag("text", html.escape(label), y=round(height + 4, 1), **side))
    parts.append(tag("text", html.escape(name), x=x, y=above - 16, class_="label middle"))
    return "".join(parts)


def _quality(value: float | None, values: Sequence[float], direction: str) -> float:
    """Returns 1 for the best value and 0 for the worst one, or for none."""
    low, high = min(values), max(values)
    if value is None:
        return 0.0
    if high == low:
        return 1.0
    fraction = (value - low) / (high - low)
    return fraction if direction == "max" else 1 - fraction


def _shade(quality: float) -> str:
    mixed = [round(pale + (dark - pale) * quality) for pale, dark in zip(PALE, DARK, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)
