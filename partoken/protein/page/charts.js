// Small pictures: bars, secondary structure, calibration, histograms.

/** A bar for a number from 0 to 1. `before` marks another number on the same scale. */
function bar(value, { color = null, before = null } = {}) {
  const place = (number) => `${(100 * Math.max(0, Math.min(1, number ?? 0))).toFixed(2)}%`;
  return make(
    "span", { class: "bar", "aria-hidden": "true" },
    make("b", { style: { width: place(value), ...(color ? { background: color } : {}) } }),
    before === null ? null : make("i", { style: { left: place(before) } }),
  );
}

/** Helix, strand and coil as parts of one bar. */
function shapeBar(of) {
  if (!isNumber(of.helix)) return make("span", {}, "–");
  const parts = ["helix", "strand", "coil"];
  const text = parts.map((name) => `${percent(of[name])} ${name}`).join(", ");
  const pieces = parts.map((name) => make("b", { class: name, style: { width: percent(of[name], 1).replace(" ", "") } }));
  return withTip(make("span", { class: "bar shape", role: "img", "aria-label": text }, pieces), text);
}

function axis(from, to, ticks, place, isAcross) {
  return ticks.map(([value, text]) => {
    const at = place(value);
    return isAcross
      ? [make("line", { class: "grid", x1: at, x2: at, y1: to, y2: from }),
         make("text", { class: "tick", x: at, y: from + 16, "text-anchor": "middle" }, text)]
      : [make("line", { class: "grid", x1: from, x2: to, y1: at, y2: at }),
         make("text", { class: "tick", x: from - 6, y: at + 4, "text-anchor": "end" }, text)];
  });
}

const drawing = (width, height, label, ...children) =>
  make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "chart" }, children);

/** How often answers of each confidence are right; a point on the line is honest. The area of a point is its chains. */
function calibrationChart(bins) {
  const across = (value) => 66 + 320 * value;
  const up = (value) => 258 - 240 * value;
  const found = bins.filter((bin) => bin.count);
  const most = Math.max(1, ...found.map((bin) => bin.count));
  const quarters = [0, 0.25, 0.5, 0.75, 1].map((value) => [value, percent(value)]);
  const points = found.map((bin) => withTip(
    make("circle", { class: "point", cx: across(bin.confidence), cy: up(bin.accuracy), r: 3 + 9 * Math.sqrt(bin.count / most) }),
    `${several(bin.count, "chain")}: confidence ${percent(bin.confidence)}, right ${percent(bin.accuracy)}`,
  ));
  const path = found.map((bin, i) => `${i ? "L" : "M"}${across(bin.confidence).toFixed(1)} ${up(bin.accuracy).toFixed(1)}`).join("");
  return drawing(
    400, 300, "How often answers of each confidence are right",
    axis(258, 18, quarters, across, true), axis(66, 386, quarters, up, false),
    make("line", { class: "honest", x1: across(0), y1: up(0), x2: across(1), y2: up(1) }),
    make("path", { class: "line", d: path }), points,
    make("text", { x: across(0.5), y: 294, "text-anchor": "middle" }, "confidence"),
    make("text", { transform: `translate(14 ${up(0.5)}) rotate(-90)`, "text-anchor": "middle" }, "right"),
  );
}

/** Steps of 1, 2 or 5 times a power of ten that make about `count` of them. */
function roundStep(span, count) {
  const power = 10 ** Math.floor(Math.log10(span / count));
  return power * [1, 2, 5, 10].find((factor) => factor * power * count >= span);
}

function histogram(values, name) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = Math.max(1, roundStep(Math.max(1, high - low), 24));
  const first = Math.floor(low / step);
  const counts = new Array(Math.floor(high / step) - first + 1).fill(0);
  for (const value of values) counts[Math.floor(value / step) - first] += 1;
  const most = Math.max(...counts);
  const wide = 330 / counts.length;
  const up = (value) => 190 - (172 * value) / most;
  const across = (value) => 52 + wide * (value / step - first);
  const bars = counts.map((count, i) => {
    const from = (first + i) * step;
    const range = step === 1 ? `${from}` : `${from} to ${from + step - 1}`;
    return withTip(
      make("rect", { class: "column", x: 52.5 + i * wide, width: Math.max(1, wide - 1), y: up(count), height: 190 - up(count) }),
      `${range}: ${whole(count)}`,
    );
  });
  const every = Math.ceil(counts.length / 8);
  const ticks = counts.map((_, i) => i).filter((i) => i % every === 0);
  const levels = [0, 0.5, 1].map((part) => Math.round(part * most));
  return drawing(
    400, 232, `Histogram of ${name}`,
    axis(52, 382, [...new Set(levels)].map((value) => [value, whole(value)]), up, false), bars,
    ticks.map((i) => make("text", { class: "tick", x: across((first + i) * step) + (step === 1 ? wide / 2 : 0), y: 206, "text-anchor": "middle" }, whole((first + i) * step))),
    make("text", { x: 217, y: 226, "text-anchor": "middle" }, name),
  );
}
