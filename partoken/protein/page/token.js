// One token: numbers, classes, and its most typical beside its weakest substructures.

function showToken(name) {
  const used = facts.dictionary.filter((one) => !one.dead);
  const token = facts.dictionary.find((one) => String(one.token) === name);
  if (!token) return [make("h1", { tabindex: "-1" }, `Token ${name}`), make("p", {}, "The dictionary has no such token.")];
  const title = make("h1", { tabindex: "-1" }, `Token ${token.token}`);
  if (token.dead) return [title, make("p", {}, "Dead: no substructure of these chains has this token.")];
  const at = used.indexOf(token);
  const step = (by, text) => {
    const other = used[at + by];
    return other ? make("a", { href: `#token/${other.token}` }, text) : null;
  };
  const waiting = [];
  const content = [
    make("p", { class: "steps" }, step(-1, "← previous"), make("a", { href: "#dictionary" }, "all tokens"), step(1, "next →")),
    title, tokenFacts(token),
    make("div", { class: "pair" },
      examples("Most typical", HELP.typical, token.typical, waiting), examples("Weakest", HELP.weakest, token.weakest, waiting)),
    section("Classes", HELP.classes, classTable(token)),
  ];
  const begin = async () => {
    for (const draw of waiting) await draw();
  };
  return { begin, repaint: begin, content };
}

function tokenFacts(token) {
  const { recurrence } = token;
  const items = [
    ["frequency", percent(token.share, 2), `${several(token.count, "substructure")} in ${several(token.chains, "chain")}`, HELP.frequency],
    ["size", fixed(token.size_mean, 1), "residues on average", HELP.size],
    ["secondary structure", shapeBar(token), ["helix", "strand", "coil"].map((name) => `${percent(token[name])} ${name}`).join(", "), HELP.shape],
    ["recurrence", recurs(token) === null ? "–" : percent(recurs(token)),
      recurrence?.tried ? `${whole(recurrence.aligned)} of ${several(recurrence.tried, "pair")} align`
        + byChance(token)
        + (isNumber(recurrence.rmsd_median) ? `; median ${fixed(recurrence.rmsd_median, 1)} Å` : "") : "not measured", HELP.recurrence],
    ["conserved residues", conserved(token.conserved), null, HELP.conserved],
  ];
  return make("dl", { class: "facts" }, items.map(([name, value, more, text]) =>
    make("div", {}, make("dt", {}, name, help(text)), make("dd", {}, make("strong", {}, value), more ? make("p", { class: "muted" }, more) : null))));
}

function conserved(found) {
  if (!Array.isArray(found)) return found || "–";
  if (!found.length) return "none";
  return found.map((one) => `${one.residue} at ${one.offset > 0 ? "+" : ""}${one.offset}: ${percent(one.share)}`).join(", ");
}

/** Pictures of substructures; how each is drawn is added to `waiting`. */
function examples(title, text, found, waiting) {
  const shown = found.map((one) => {
    const canvas = make("canvas", { role: "img", "aria-label": `Substructure ${one.substructure} of ${one.chain}` });
    const words = [make("strong", {}, one.chain), ` substructure ${one.substructure}`, make("p", { class: "muted" }, `closeness ${fixed(one.closeness)}`)];
    const answer = Object.values(chainOf.get(one.chain)?.answers ?? {}).at(-1);
    const truth = answer?.truth ? make("p", { class: "muted" }, answer.truth) : null;
    if (Object.hasOwn(facts.details, one.chain)) waiting.push(() => picture(canvas, one));
    else {
      if (one.trace) waiting.push(() => picture(canvas, one));
      return make("div", { class: "example" }, one.trace ? canvas : null, words, truth);
    }
    return make("a", { class: "example", href: chainLink(one.chain, one.substructure) }, canvas, make("div", {}, words, truth));
  });
  return make("section", {}, make("h2", {}, title, help(text)), shown.length ? make("div", { class: "examples" }, shown)
    : make("p", { class: "muted" }, "None beside those that are shown."));
}

function classTable(token) {
  const names = new Set(token.classes.map((one) => one.label));
  const columns = [
    ...(names.size > 1 ? [{ name: "question", value: (one) => one.label, cell: (one) => labelName(one.label) }] : []),
    { name: "class", value: (one) => one.class, cell: (one) => one.class },
    { name: "count", number: true, value: (one) => one.count, cell: (one) => whole(one.count) },
    { name: "expected", number: true, help: HELP.expected, value: (one) => one.expected, cell: (one) => fixed(one.expected, 1) },
    { name: "enrichment", number: true, help: HELP.enrichment, value: (one) => one.enrichment, cell: (one) => `${fixed(one.enrichment, 2)} ×` },
    { name: "p", number: true, help: HELP.p, value: (one) => one.p, cell: (one) => chance(one.p) },
    { name: "q", number: true, help: HELP.q, value: (one) => one.q, cell: (one) => chance(one.q) },
  ];
  return table(columns, token.classes, { sort: columns.length - 1, down: false, row: (row, one) => row.classList.toggle("best", one.q < 0.05) });
}
