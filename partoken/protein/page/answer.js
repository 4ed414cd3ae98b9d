// The answer for a chain, and what it would be without one of its substructures.

const MOST_CLASSES = 8;

/** Bars of the classes of a label; with `without`, also what they would be without a substructure. */
function classBars(probabilities, without) {
  const order = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  const shown = order.slice(0, MOST_CLASSES);
  const rest = order.slice(MOST_CLASSES);
  const rows = shown.map(([name, before]) => {
    const after = without?.[name];
    const number = isNumber(after) ? `${percent(before)} → ${percent(after)}` : percent(before);
    return make("tr", {}, make("td", { class: "name" }, name),
      make("td", { class: "wide" }, isNumber(after) ? bar(after, { before }) : bar(before)), make("td", { class: "number" }, number));
  });
  const others = rest.length ? make("tr", {}, make("td", { class: "muted", colspan: 3 },
    `${several(rest.length, "more class")}${rest.length > 1 ? "es" : ""} with ${percent(sum(rest.map(([, value]) => value)))} in all`)) : null;
  return make("table", { class: "bars" }, make("tbody", {}, rows, others));
}

/** The answer to each label; `show(substructure or null)` draws them again. */
function answerPanel(chain, detail) {
  const body = make("div");
  const show = (part) => {
    const heading = part
      ? [make("h2", {}, "Without substructure ", String(part.number), help(HELP.without)),
         make("p", { class: "muted" }, `Token ${part.token}, residues ${part.first} to ${part.last}, is left out. The mark is the answer with all substructures.`)]
      : [make("h2", {}, "Answer", help(HELP.probability)),
         make("p", { class: "muted" }, "Choose a substructure below to see the answer without it.")];
    const labels = facts.labels.filter((label) => detail.probabilities[label.name]);
    body.replaceChildren(...heading, ...labels.map((label) => {
      const answer = chain.answers[label.name] ?? {};
      const truth = answer.truth === null || answer.truth === undefined ? null : ` (truth: ${answer.truth})`;
      return make("div", { class: "label" },
        make("h3", {}, `${labelName(label.name)}: `, make("strong", {}, answer.label || "none"), truth, " ", isBoolean(answer.right) ? verdictMark(answer.right) : null),
        classBars(detail.probabilities[label.name], part?.without?.[label.name]));
    }));
  };
  show(null);
  return { box: make("div", { class: "panel" }, body), show };
}
