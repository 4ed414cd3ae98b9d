"""The page of a sweep: one HTML file that needs neither a network nor a server."""

import html
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from partoken.report.svg import tag
from partoken.report.sweep_charts import curve_chart, group_color, key_chart, parallel_chart, rate_chart, spread_chart
from partoken.system.files import atomic_write

__all__ = ["write_page"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The page may load nothing."""
MAX_GROUPS = 100
MAX_KEY_CHARTS = 12
SHORT = 24
"""Characters up to which a cell has a single line."""
MAX_REASONS = 50
MAX_LEGEND = 8
"""Number of groups that have a colour of their own."""


def write_page(content: Mapping[str, Any], path: Path) -> None:
    """Writes the page of a sweep, completely or not at all.

    Arguments:
        content: plain values.

            - `title`, `folder`, `written` (the time), `metric`, `direction` (`max` or `min`), `summary`, `verdict`:
              texts.
            - `keys`: the keys that differ: `name`, `short`, `followers` (keys that change together with it),
              `is_seed`.
            - `jobs`, best first: `number`, `folder` (a relative link or None), `state`, `reason` (or None), `is_worst`,
              `is_best`, `group` (rank from 0), `value` (the metric or None), `values` and `numbers` (of each key: its
              text, and the number or None), `cells`.
            - `groups`, best first: `label`, `is_best`, `mean`, `deviation`, `cells`.
            - `job_columns`, `group_columns`: `name` and `title` of each cell. A cell has `text` and `sort`.
            - `importance`, largest first: `name`, `share`, `by_chance`, `num_levels`, `num_jobs`; and
              `importance_notes`, sentences.
            - `curves`: `name` and `lines`, each with `number`, `group`, `is_worst` and `points`; `rates`: such lines;
              `num_without_curves`: jobs that are left out there.
        path: the HTML file.

    Raises:
        OSError: the file cannot be written.
    """
    parts = [
        _header(content),
        _best(content),
        _groups(content),
        _key_charts(content),
        _importance(content),
        _parallel(content),
        _curves(content),
        _jobs(content),
    ]
    files = resources.files("partoken.report")
    style, script = ((files / name).read_text(encoding="utf-8") for name in ("sweep.css", "sweep.js"))
    with atomic_write(path) as file:
        file.write(
            "<!doctype html>\n"
            '<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Sweep {html.escape(content['title'])}</title>\n"
            f"<style>\n{style}</style></head>\n<body><main>\n"
            + "\n".join(part for part in parts if part)
            + f'\n</main><div id="tip" hidden></div>\n<script>\n{script}</script></body></html>\n'
        )


def _header(content: Mapping[str, Any]) -> str:
    title, summary, folder, written = (html.escape(content[key]) for key in ("title", "summary", "folder", "written"))
    links = ", ".join(f"<a href='{name}'>{name}</a>" for name in ("sweep.csv", "sweep_groups.csv"))
    return f"<header><h1>Sweep {title}</h1><p>{summary}</p><p>{folder}, {written}. Tables: {links}</p></header>"


def _section(title: str, explanation: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>\n<p>{explanation}</p>\n{body}</section>"


def _best(content: Mapping[str, Any]) -> str:
    """Returns the best group and the best job, in two boxes."""
    cards = []
    group = next((group for group in content["groups"] if group["is_best"]), None)
    if group is not None and len(content["groups"]) < len(content["jobs"]):
        spread = "" if group["deviation"] is None else f" ± {group['deviation']:.3g}"
        cards.append(_card("Best group", group["label"], f"{group['mean']:.4g}{spread}", content["metric"]))
    job = next((job for job in content["jobs"] if job["is_best"]), None)
    if job is not None:
        values = ", ".join(f"{key['short']}={job['values'][key['name']]}" for key in content["keys"])
        cards.append(_card(f"Best job: {job['number']}", values, f"{job['value']:.4g}", content["metric"]))
    verdict = f"<p class='verdict'>{html.escape(content['verdict'])}</p>" if content["verdict"] else ""
    return f"<div class='cards'>{''.join(cards)}</div>{verdict}"


def _card(title: str, text: str, number: str, metric: str) -> str:
    name, detail, value, unit = map(html.escape, (title, text, number, metric))
    return f"<div class='card'><h3>{name}</h3><strong>{value}</strong> <span>{unit}</span><p>{detail}</p></div>"


def _groups(content: Mapping[str, Any]) -> str:
    groups, jobs = content["groups"], content["jobs"]
    values = [job["value"] for job in jobs if job["state"] == "finished" and job["value"] is not None]
    if not 1 < len(groups) < len(jobs) or not values:
        return ""
    members: dict[int, list[Mapping[str, Any]]] = {}
    for job in jobs:
        members.setdefault(job["group"], []).append(job)
    names = [column["name"] for column in content["group_columns"]]
    place, rows = names.index(content["metric"]) + 1, []
    for number, group in enumerate(groups[:MAX_GROUPS]):
        chart = spread_chart(members.get(number, []), group, (min(values), max(values)))
        swatch = _swatch(group_color(number))
        cells = list(map(_cell, group["cells"]))
        cells[place:place] = [f"<td>{chart}</td>"]
        name = "best" if group["is_best"] else ""
        rows.append(f"<tr class='{name}' data-group='{number}'><td>{swatch}</td>{''.join(cells)}</tr>")
    columns = [{"name": "", "title": ""}, *content["group_columns"]]
    columns[place + 1 : place + 1] = [{"name": "", "title": f"{content['metric']} of each run"}]
    table = _table(columns, rows)
    text = (
        "Jobs that differ in the seed only, as mean ± standard deviation (n - 1) of the finished runs. A group with a "
        "diverged or failed job comes after all others. The picture has a point for each run."
    )
    if len(groups) > MAX_GROUPS:
        text += f" The first {MAX_GROUPS} of {len(groups)} groups; sweep_groups.csv has all."
    return _section("Groups", text, table)


def _key_charts(content: Mapping[str, Any]) -> str:
    keys = [key for key in content["keys"] if not key["is_seed"]] or content["keys"]
    figures, drawn = [], list[str]()
    for key in keys[:MAX_KEY_CHARTS]:
        chart, legend = key_chart(content, key)
        if chart:
            drawn.append(key["name"])
            items = "".join(f"<span>{_swatch(color)}{html.escape(label)}</span>" for color, label in legend)
            figures.append(f"<figure>{chart}<figcaption class='legend'>{items}</figcaption></figure>")
    if not figures:
        return ""
    text = "A point for each finished job, a bar for the mean at each value. A cross is a diverged or failed job."
    if len(keys) > MAX_KEY_CHARTS:
        text += f" The first {MAX_KEY_CHARTS} of {len(keys)} keys."
    alone = [key["name"] for key in keys[:MAX_KEY_CHARTS] if key["name"] not in drawn]
    if alone:
        text += f" All finished jobs have the same {html.escape(', '.join(alone))}."
    followers = [f"{', '.join(key['followers'])} with {key['name']}" for key in content["keys"] if key["followers"]]
    if followers:
        text += f" Not shown, because they change together with another key: {html.escape('; '.join(followers))}."
    return _section("Metric against each key", text, f"<div class='grid'>{''.join(figures)}</div>")


def _importance(content: Mapping[str, Any]) -> str:
    found = [item for item in content["importance"] if item["share"] is not None]
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in content["importance_notes"])
    if not found and not notes:
        return ""
    rows = [
        f"<tr><td>{html.escape(item['name'])}</td>"
        f"<td><div class='bar'><div style='width:{100 * item['share']:.1f}%'></div>"
        f"<i style='left:{100 * item['by_chance']:.1f}%'></i></div></td>"
        f"<td class='number'>{item['share']:.1%}</td><td class='number'>{item['by_chance']:.1%}</td>"
        f"<td class='number'>{item['num_levels']}</td></tr>"
        for item in found
    ]
    names = ("key", "share of the variance", "", "by chance", "values or bins")
    columns = [{"name": name, "title": ""} for name in names]
    text = (
        f"The share of the variance of {html.escape(content['metric'])} between the values of a key: "
        "<span class='formula'>η² = Σ<sub>g</sub> n<sub>g</sub>(ȳ<sub>g</sub> − ȳ)² / Σ<sub>i</sub>(y<sub>i</sub> − ȳ)²"
        "</span>, the main effect of a one-way analysis of variance (Cohen 1973). Finished jobs only; a number with "
        "more than four values is put into quartile bins. The mark is the share that a key without effect has on "
        "average, (k − 1)/(n − 1)."
    )
    body = _table(columns, rows) if rows else ""
    return _section("Importance of each key", text, body + (f"<ul>{notes}</ul>" if notes else ""))


def _parallel(content: Mapping[str, Any]) -> str:
    chart = parallel_chart(content)
    text = "Each line is a job. Darker is better, the best job is orange; diverged and failed jobs are dashed."
    return _section("Parallel coordinates", text, f"<figure class='wide'>{chart}</figure>") if chart else ""


def _curves(content: Mapping[str, Any]) -> str:
    charts = [curve_chart(curve["lines"], curve["name"], "epoch") for curve in content["curves"]]
    if content["rates"]:
        charts.append(rate_chart(content["rates"]))
    if not charts:
        return ""
    shown = content["groups"][:MAX_LEGEND]
    legend = "".join(
        f"<span data-group='{number}'>{_swatch(group_color(number))}{html.escape(group['label'])}</span>"
        for number, group in enumerate(shown)
    )
    more = len(content["groups"]) - len(shown)
    legend += f"<span>{_swatch(group_color(MAX_LEGEND))}{more} more groups</span>" if more > 0 else ""
    text = "Point at a curve, or at a row of a table, to see which job it is. The rate is of one job of each group."
    if content["num_without_curves"]:
        text += f" Without the curves of the {content['num_without_curves']} worst jobs."
    figures = "".join(f"<figure>{chart}</figure>" for chart in charts)
    return _section("Curves", text, f"<div class='legend'>{legend}</div><div class='grid'>{figures}</div>")


def _jobs(content: Mapping[str, Any]) -> str:
    rows = []
    for job in content["jobs"]:
        cells = [_cell(cell) for cell in job["cells"]]
        if job["folder"] is not None:
            link = quote(job["folder"]) + "/"
            cells[0] = _cell(job["cells"][0], tag("a", html.escape(job["cells"][0]["text"]), href=link))
        names = " ".join(["best"] * job["is_best"] + ["worst"] * job["is_worst"])
        rows.append(f"<tr class='{names}' data-job='{job['number']}'>{''.join(cells)}</tr>")
    text = "Best first: finished jobs by their metric, diverged and failed jobs last. A click on a heading sorts."
    return _section("Jobs", text, _reasons(content["jobs"]) + _table(content["job_columns"], rows))


def _reasons(jobs: Sequence[Mapping[str, Any]]) -> str:
    """Returns why jobs failed, as a list; pruned jobs need no reason."""
    found = [job for job in jobs if job["reason"] and job["state"] != "pruned"]
    found.sort(key=lambda job: job["number"])
    lines = []
    for job in found[:MAX_REASONS]:
        text = html.escape(f"job {job['number']} {job['state']}: {job['reason']}")
        lines.append(f"<li data-job='{job['number']}'>{text}</li>")
    lines += [f"<li>and {len(found) - MAX_REASONS} more, in sweep.csv</li>"] if len(found) > MAX_REASONS else []
    return f"<ul>{''.join(lines)}</ul>\n" if lines else ""


def _table(columns: Sequence[Mapping[str, str]], rows: Sequence[str]) -> str:
    """Returns a table that scrolls if it is too wide.

    Arguments:
        columns: `name` and `title` of each.
        rows: as HTML.
    """
    heads = "".join(f"<th title='{html.escape(column['title'])}'>{_broken(column['name'])}</th>" for column in columns)
    body = "\n".join(rows)
    return f"<div class='scroll'><table><thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table></div>"


def _cell(cell: Mapping[str, Any], written: str | None = None) -> str:
    """Returns a cell of a table; `written` is its content as HTML if it is more than the text."""
    name = "short" if len(cell["text"]) <= SHORT else ""
    name = "number" if isinstance(cell["sort"], (int, float)) or cell["text"] == "-" else name
    content = html.escape(cell["text"]) if written is None else written
    return f"<td class='{name}' data-sort='{html.escape(str(cell['sort']))}'>{content}</td>"


def _broken(name: str) -> str:
    """Returns a name that may be broken after `_` and `.`."""
    return html.escape(name).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _swatch(color: str) -> str:
    return f"<b class='swatch' style='background:{color}'></b>"
