"use strict";
// Elements, numbers and the tip. Texts become text nodes, never HTML: whatever a file is called stays text.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "g", "rect", "line", "path", "circle", "text", "title"]);

/** Makes an element. Attributes that begin with "on" are listeners, `style` is an object, null and false are left out. */
function make(name, attributes = {}, ...children) {
  const element = DRAWN.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [rule, text] of Object.entries(value)) element.style.setProperty(rule, text);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const percent = (value, digits = 0) => (isNumber(value) ? `${(100 * value).toFixed(digits)} %` : "–");
const fixed = (value, digits = 2) => (isNumber(value) ? value.toFixed(digits) : "–");
const whole = (value) => (isNumber(value) ? value.toLocaleString("en") : "–");
const several = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => (values.length ? sum(values) / values.length : null);
const readable = (name) => name.replaceAll("_", " ");

/** A probability of chance: small ones as a power of ten. */
function chance(value) {
  if (!isNumber(value)) return "–";
  if (value >= 0.001) return value.toFixed(3);
  if (value === 0) return "< 1e-300";
  return value.toExponential(0);
}

const labelName = (name) => (name === "" ? "class" : readable(name));
const chainLink = (id, substructure) =>
  `#chain/${encodeURIComponent(id)}${substructure === undefined ? "" : `/${substructure}`}`;

function showTip(text, x, y) {
  const tip = document.getElementById("tip");
  tip.textContent = text;
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  tip.style.left = `${Math.max(6, Math.min(x + 12, innerWidth - width - 6))}px`;
  tip.style.top = `${y + 16 + height > innerHeight ? Math.max(6, y - height - 10) : y + 16}px`;
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}

/** A question mark that explains a number when one points at it, reaches it with the keyboard or taps it. */
function help(text) {
  const show = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    event.preventDefault();
    event.stopPropagation();
    showTip(text, box.left, box.bottom - 12);
  };
  return make(
    "button",
    { class: "help", type: "button", "aria-label": text, onmouseenter: show, onfocus: show, onclick: show,
      onmouseleave: hideTip, onblur: hideTip },
    "?",
  );
}

/** Shows a text beside the pointer while it is over an element. */
function withTip(element, text) {
  element.addEventListener("mousemove", (event) => showTip(text, event.clientX, event.clientY));
  element.addEventListener("mouseleave", hideTip);
  return element;
}

function section(title, explanation, ...body) {
  return make("section", {}, make("h2", {}, title), explanation ? make("p", { class: "muted" }, explanation) : null, body);
}

/** A field with a name in front of it. */
const field = (name, input) => make("label", { class: "field" }, make("span", {}, name), input);

/** A choice among texts; `options` are pairs of value and text. */
function choice(options, chosen, change) {
  const select = make("select", { onchange: () => change(select.value) });
  for (const [value, text] of options) select.append(make("option", { value, selected: value === chosen }, text));
  return select;
}

/** Buttons of which one is pressed. */
function toggle(options, chosen, change) {
  const buttons = options.map(([value, text]) =>
    make("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => press(value) }, text));
  const press = (value) => {
    options.forEach(([other], at) => buttons[at].setAttribute("aria-pressed", String(other === value)));
    change(value);
  };
  return make("span", { class: "toggle", role: "group" }, buttons);
}

function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
