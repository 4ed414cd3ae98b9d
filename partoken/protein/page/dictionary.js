// The dictionary: every token, what it stands for and how often it occurs.

const browse = { order: "share", text: "", class: "" };
const ORDERS = [
  ["share", "how often it occurs"], ["enrichment", "enrichment in a class"], ["recurrence", "how often it recurs in space"],
  ["size", "size"], ["token", "number"],
];

/** The class that a token goes with most clearly, or null. */
function clearest(token) {
  const found = token.classes.filter((one) => one.enrichment > 1 && isNumber(one.q));
  return found.sort((one, other) => one.q - other.q || other.enrichment - one.enrichment)[0] ?? null;
}

const recurs = (token) => (token.recurrence?.tried ? token.recurrence.aligned / token.recurrence.tried : null);
const byChance = (token) => (isNumber(token.recurrence?.by_chance) ? `, by chance ${percent(token.recurrence.by_chance)}` : "");
const enrichmentText = (one) => `${one.class}: ${fixed(one.enrichment, 1)} × as often as expected, q ${chance(one.q)}`;

function tokenCard(token, most) {
  const best = clearest(token);
  const isClear = best && best.q < 0.05;
  return make(
    "a", { class: "card", href: `#token/${token.token}` },
    make("h3", {}, make("span", { class: "token" }, String(token.token)), ` ${several(token.count, "substructure")} in ${several(token.chains, "chain")}`),
    make("span", { class: "measured" }, bar(token.share / most), percent(token.share, 1)),
    make("p", { class: isClear ? null : "muted" }, best ? enrichmentText(best) : "goes with no class"),
    shapeBar(token),
    make("p", { class: "muted" }, `${fixed(token.size_mean, 0)} residues`,
      recurs(token) === null ? "" : ` · recurs in ${percent(recurs(token))} of ${several(token.recurrence.tried, "pair")}${byChance(token)}`),
  );
}

const VALUES = {
  share: (token) => token.share, enrichment: (token) => -(clearest(token)?.q ?? 1), recurrence: recurs,
  size: (token) => token.size_mean, token: (token) => -token.token,
};

function showDictionary() {
  const alive = facts.dictionary.filter((token) => !token.dead);
  const dead = facts.dictionary.filter((token) => token.dead);
  const most = Math.max(...alive.map((token) => token.share), 1e-9);
  const cards = make("div", { class: "cards" });
  const parts = inParts(cards, 60);
  const count = make("p", { class: "muted", "aria-live": "polite" });
  const names = [...new Set(alive.map((token) => clearest(token)?.class).filter(Boolean))].sort();
  const fill = () => {
    const shown = alive
      .filter((token) => !browse.class || clearest(token)?.class === browse.class)
      .filter((token) => String(token.token).startsWith(browse.text.trim()))
      .sort(compareBy(VALUES[browse.order], true));
    count.textContent = `${whole(shown.length)} of ${several(alive.length, "token")} in use`;
    parts.fill(shown, (token) => tokenCard(token, most));
  };
  const set = (key) => (value) => { browse[key] = value; fill(); };
  const search = make("input", { type: "search", value: browse.text, inputmode: "numeric", placeholder: "number", oninput: () => set("text")(search.value) });
  fill();
  return [
    make("h1", { tabindex: "-1" }, "Dictionary"),
    make("p", { class: "muted" }, HELP.dictionary),
    make("div", { class: "filters" }, field("order", choice(ORDERS, browse.order, set("order"))),
      names.length ? field("goes with", choice([["", "all"], ...names.map((name) => [name, name])], browse.class, set("class"))) : null,
      field("token", search)),
    count, cards, parts.more,
    section(`Dead tokens: ${whole(dead.length)} of ${whole(facts.dictionary.length)}`, HELP.dead,
      make("p", { class: "dead" }, dead.map((token) => token.token).join(", ") || "none")),
  ];
}
