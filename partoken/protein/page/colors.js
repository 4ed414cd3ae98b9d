// Colours of residues: by importance as in the scripts for PyMOL, or by substructure.

const PARTS = [
  "#2f7ebc", "#e08214", "#3a9b5c", "#c0504d", "#8064a2", "#17a2a2",
  "#d65f9a", "#8c6d31", "#7a9a01", "#5c6bc0", "#c99700", "#4a90a4",
];
const SITE = "#8e24aa";
const RAMP = [[0.35, [246, 206, 98]], [0.65, [236, 125, 49]], [1, [190, 24, 30]]];
const ELEMENTS = { N: "#3050f8", O: "#e02020", S: "#c8a000", P: "#ff8000" };

const darkness = matchMedia("(prefers-color-scheme: dark)");
const plainColor = () => (darkness.matches ? [92, 104, 114] : [205, 212, 218]);
const css = (rgb) => `#${rgb.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;

/** Colour of a fraction of the largest importance: grey, yellow, red. */
function importanceColor(fraction) {
  let [low, from] = [0, plainColor()];
  for (const [high, to] of RAMP) {
    if (fraction <= high) {
      const part = (fraction - low) / (high - low);
      return css(from.map((value, i) => value + part * (to[i] - value)));
    }
    [low, from] = [high, to];
  }
  return css(RAMP.at(-1)[1]);
}

/** Colour of a substructure, counted from 1; grey for none. */
const partColor = (number) => (number ? PARTS[(number - 1) % PARTS.length] : css(plainColor()));

const swatch = (color) => make("i", { class: "swatch", style: { background: color } });
