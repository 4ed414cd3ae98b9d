// The first view: all chains, with their answers.

const chosen = { label: null, class: "", right: "", split: "", text: "", order: {} };
const RIGHT = [["", "all"], ["right", "right"], ["wrong", "wrong"], ["unknown", "truth unknown"]];

const verdict = (right) => (right === true ? "right" : right === false ? "wrong" : "unknown");
const VERDICTS = { right: "✓ right", wrong: "✗ wrong", unknown: "–" };
const verdictMark = (right) => make("span", { class: `verdict ${verdict(right)}` }, VERDICTS[verdict(right)]);

function tokenLink(token) {
  return make("a", { class: "token", href: `#token/${token}` }, String(token));
}

function tokenList(tokens, most = 6) {
  const distinct = [...new Set(tokens)];
  const rest = distinct.length - most;
  return make("span", { class: "tokens" }, distinct.slice(0, most).map(tokenLink),
    rest > 0 ? make("span", { class: "muted", title: distinct.slice(most).join(", ") }, `+${rest}`) : null);
}

function chainColumns(label) {
  const answer = (chain) => chain.answers[label] ?? {};
  return [
    { name: "chain", value: (chain) => chain.id,
      cell: (chain) => (chain.has_page ? make("a", { href: chainLink(chain.id) }, chain.id)
        : make("span", { title: "This chain has no page of its own" }, chain.id)) },
    { name: "set", value: (chain) => chain.split, cell: (chain) => chain.split, class: "muted" },
    { name: "residues", number: true, value: (chain) => chain.length, cell: (chain) => whole(chain.length) },
    { name: "prediction", value: (chain) => answer(chain).label, cell: (chain) => answer(chain).label || "none" },
    { name: "confidence", number: true, help: HELP.confidence, value: (chain) => answer(chain).confidence,
      cell: (chain) => make("span", { class: "measured" }, bar(answer(chain).confidence), percent(answer(chain).confidence)) },
    { name: "truth", value: (chain) => answer(chain).truth, cell: (chain) => answer(chain).truth ?? "–" },
    { name: "right?", value: (chain) => VERDICTS[verdict(answer(chain).right)], cell: (chain) => verdictMark(answer(chain).right) },
    { name: "tokens", help: HELP.token, number: false, value: (chain) => new Set(chain.tokens).size, cell: (chain) => tokenList(chain.tokens) },
  ];
}

function isShown(chain) {
  const answer = chain.answers[chosen.label] ?? {};
  const words = `${chain.id} ${chain.file} ${answer.label} ${answer.truth ?? ""}`.toLowerCase();
  const classes = [answer.label, answer.truth].flatMap((text) => (text ?? "").split(";"));
  return (!chosen.class || classes.includes(chosen.class))
    && (!chosen.right || verdict(answer.right) === chosen.right)
    && (!chosen.split || chain.split === chosen.split)
    && words.includes(chosen.text.trim().toLowerCase());
}

function showChains() {
  chosen.label ??= facts.labels[0]?.name;
  const found = make("div", { class: "found" });
  const count = make("p", { class: "muted", "aria-live": "polite" });
  const classChoice = make("span");
  const fill = () => {
    const rows = facts.chains.filter(isShown);
    const known = rows.filter((chain) => isBoolean(chain.answers[chosen.label]?.right));
    const right = known.filter((chain) => chain.answers[chosen.label].right).length;
    count.textContent = `${whole(rows.length)} of ${several(facts.chains.length, "chain")}`
      + (known.length ? `; ${percent(right / known.length)} of ${whole(known.length)} with a known class are right` : "");
    found.replaceChildren(table(chainColumns(chosen.label), rows, { state: chosen.order }));
  };
  const set = (key) => (value) => { chosen[key] = value; fill(); };
  const setLabel = (name) => {
    chosen.label = name;
    chosen.class = "";
    fillClasses();
    fill();
  };
  const fillClasses = () => {
    const classes = facts.labels.find((label) => label.name === chosen.label)?.classes ?? [];
    const options = [["", "all"], ...classes.map((name) => [name, name])];
    classChoice.replaceChildren(field("predicted or true class", choice(options, chosen.class, set("class"))));
  };
  const splits = [...new Set(facts.chains.map((chain) => chain.split))].sort();
  const search = make("input", { type: "search", value: chosen.text, placeholder: "name or class", oninput: () => set("text")(search.value) });
  fillClasses();
  fill();
  const filters = make(
    "div", { class: "filters" },
    facts.labels.length > 1
      ? field("question", choice(facts.labels.map((label) => [label.name, labelName(label.name)]), chosen.label, setLabel)) : null,
    field("search", search), classChoice, field("answer", choice(RIGHT, chosen.right, set("right"))),
    splits.length > 1 ? field("set", choice([["", "all"], ...splits.map((name) => [name, name])], chosen.split, set("split"))) : null,
  );
  return [make("h1", { tabindex: "-1" }, "Chains"), 
    [facts.about.left_out, facts.about.chosen].filter(Boolean).map((text) => make("p", { class: "muted" }, text)), filters, count, found];
}

const isBoolean = (value) => value === true || value === false;
