// The network as a whole: scores, confusion, calibration, substructures, checks of the explanations.

function showModel() {
  const { scores, confusion, calibration, substructures, right_and_wrong: compared, checks } = facts.model;
  const about = facts.about;
  return [
    make("h1", { tabindex: "-1" }, "Model"),
    make("p", { class: "muted" }, `${about.checkpoint}, partoken ${about.version}, ${about.written}`),
    make("p", {}, about.learned), about.importance ? make("p", {}, about.importance) : null,
    scores?.length ? section("Right answers, beside simple ones", HELP.scores, scores.map(scoreTable)) : null,
    Object.keys(confusion ?? {}).length ? section("Confusion", HELP.confusion, make("div", { class: "row" },
      Object.entries(confusion).map(([label, found]) => make("div", {}, make("h3", {}, labelName(label)), confusionTable(found))))) : null,
    Object.keys(calibration ?? {}).length ? section("Calibration", HELP.calibration,
      make("div", { class: "grid" }, Object.entries(calibration).map(([label, found]) => make("figure", {},
        make("figcaption", {}, `${labelName(label)}: expected calibration error ${percent(found.error, 1)}`), calibrationChart(found.bins))))) : null,
    substructures ? section("Substructures", `They cover ${percent(substructures.coverage_mean)} of the residues of a chain.`, make("div", { class: "grid" },
      [[substructures.sizes, "residues of a substructure"], [substructures.per_chain, "substructures of a chain"]]
        .filter(([values]) => values?.length).map(([values, name]) => make("figure", {}, histogram(values, name))))) : null,
    compared?.length ? section("Importance for right and wrong answers", null, rightAndWrong(compared)) : null,
    (checks ?? []).map((check) => section(check.title, check.text, checkTable(check))),
  ];
}

function scoreTable(of) {
  const rows = [["this network", of, true], ...Object.entries(of.baselines ?? {}).map(([name, score]) => [readable(name), score, false])];
  const lines = rows.map(([name, score, isOwn]) => make("tr", { class: isOwn ? "best" : null }, make("td", {}, name),
    ["accuracy", "macro_f1"].map((key) => make("td", {}, make("span", { class: "measured" }, bar(score[key]), percent(score[key]))))));
  const heads = make("tr", {}, make("th", {}, labelName(of.label) + (isNumber(of.num_chains) ? ` (${several(of.num_chains, "chain")})` : "")),
    make("th", {}, "accuracy", help(HELP.accuracy)), make("th", {}, "macro F1", help(HELP.macro_f1)));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, heads), make("tbody", {}, lines)));
}

/** Rows are true classes; the shade is the fraction of the row. */
function confusionTable({ classes, counts }) {
  const heads = make("tr", {}, make("th", {}, "true \\ predicted"), classes.map((name) => make("th", { class: "turned", scope: "col" }, make("span", {}, name))));
  const lines = counts.map((row, i) => {
    const total = sum(row) || 1;
    const cells = row.map((count, k) => {
      const shade = { "--part": `${Math.round((100 * count) / total)}%` };
      const cell = make("td", { class: i === k ? "heat own" : "heat", style: shade }, count ? whole(count) : "");
      cell.classList.toggle("dark", count / total > 0.55);
      return withTip(cell, `true ${classes[i]}, predicted ${classes[k]}: ${whole(count)} of ${whole(sum(row))}`);
    });
    return make("tr", {}, make("th", { scope: "row" }, classes[i]), cells);
  });
  return make("div", { class: "scroll" }, make("table", { class: "confusion" }, make("thead", {}, heads), make("tbody", {}, lines)));
}

const cellText = (value) => (typeof value === "number" ? (Number.isInteger(value) ? whole(value) : Number(value.toPrecision(3)).toString()) : String(value ?? "–"));

function rightAndWrong(compared) {
  const keys = [...new Set(compared.flatMap((one) => Object.keys({ ...one.right, ...one.wrong })))];
  const rows = compared.flatMap((one) => ["right", "wrong"].map((kind) => ({ label: one.label, kind, values: one[kind] ?? {} })));
  return table([
    { name: "question", cell: (row) => labelName(row.label) }, { name: "answer", cell: (row) => verdictMark(row.kind === "right") },
    ...keys.map((key) => ({ name: readable(key), number: true, help: HELP[key], cell: (row) => cellText(row.values[key]) })),
  ], rows);
}

function checkTable({ columns, rows }) {
  return table(columns.map((name, at) => ({ name, number: at > 0, cell: (row) => cellText(row[at]) })), rows);
}
