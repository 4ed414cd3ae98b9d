// A chain: structure, sequence, substructures, known sites.

async function showChain(id, wanted) {
  const chain = chainOf.get(id);
  const detail = await detailOf(id);
  if (!chain || !detail) {
    return [make("h1", { tabindex: "-1" }, id),
      make("p", {}, chain ? "This chain has no page of its own. " : "No chain has this name. ", facts.about.chosen ?? "",
        " ", make("a", { href: "#index" }, "All chains"))];
  }
  const look = { by: "importance", only: null, sides: true, sites: true };
  const stage = make("div", { class: "stage" });
  const said = make("p", { class: "said", "aria-live": "polite" }, "Point at a residue.");
  const legend = make("div", { class: "legend" });
  const answer = answerPanel(chain, detail);
  let structure = null;

  const point = (place) => {
    said.textContent = place === null ? "Point at a residue." : residueText(detail, place);
    strip.mark(place);
    structure?.mark(place);
  };
  const strip = sequenceStrip(detail, point);
  const paint = () => {
    legend.replaceChildren(...legendOf(detail, look));
    structure?.paint(look);
  };
  const choose = (number) => {
    look.only = look.only === number ? null : number;
    const part = detail.substructures.find((one) => one.number === look.only) ?? null;
    for (const button of document.querySelectorAll("button[data-part]")) {
      const isChosen = Number(button.dataset.part) === look.only;
      button.setAttribute("aria-pressed", String(isChosen));
      button.closest("tr").classList.toggle("on", isChosen);
    }
    answer.show(part);
    strip.choose(look.only);
    paint();
  };
  const check = (name, key) => field(name, make("input", { type: "checkbox", checked: true,
    onchange: (event) => { look[key] = event.target.checked; paint(); } }));
  const controls = make(
    "div", { class: "controls" },
    toggle([["importance", "Importance"], ["substructure", "Substructures"]], look.by, (value) => { look.by = value; paint(); }),
    check("side chains", "sides"), detail.sites?.length ? check("known sites", "sites") : null,
    make("button", { type: "button", onclick: () => structure?.turnTo() }, "Whole chain"),
    make("button", { type: "button", onclick: () => structure?.turnTo(new Set(detail.order.slice(0, SIDE_CHAINS))) }, "Important residues"),
  );
  const begin = () => {
    structure = largeStructure(stage);
    if (structure) {
      structure.show(detail, point);
      paint();
      structure.turnTo();
    }
    strip.draw();
    if (wanted) choose(wanted);
  };
  const words = [chain.file, chain.split && `set: ${chain.split}`, detail.chain && `chain ${detail.chain}`, several(chain.length, "residue")];
  return {
    begin,
    repaint: () => { paint(); strip.draw(); },
    content: [
      make("h1", { tabindex: "-1" }, id), make("p", { class: "muted" }, words.filter(Boolean).join(" · ")), downloads(detail),
      make("div", { class: "sides" }, make("div", {}, controls, stage, said, legend), answer.box),
      section("Sequence", `Height and colour are importance: ${facts.about.method_text}. The band is the substructure.`, strip.box),
      important(detail, point),
      section("Substructures", null, partTable(detail, choose)),
    ],
  };
}

function legendOf(detail, look) {
  const items = look.by === "importance"
    ? [make("span", { class: "ramp" }, "0 ", make("i", { style: { background: `linear-gradient(90deg, ${[0, 0.35, 0.65, 1].map((part) => `${importanceColor(part)} ${100 * part}%`).join(", ")})` } }),
        ` ${percent(detail.largest, 1)} of the importance of the chain`)]
    : detail.substructures.map((part) => make("span", {}, swatch(partColor(part.number)), String(part.number)));
  if (detail.sites?.length && look.sites) items.push(make("span", {}, swatch(SITE), "known site"));
  return items;
}

/** The residues that rank highest, and where the known sites rank. */
function important(detail, point) {
  const chip = (place) => make("button", {
    type: "button", class: detail.isSite.has(place) ? "chip site" : "chip",
    onmouseenter: () => point(place), onfocus: () => point(place), onmouseleave: () => point(null),
  }, residueName(detail, place), make("small", {}, `${percent(detail.importance[place], 1)}`));
  const body = [make("div", { class: "chips" }, detail.order.slice(0, 20).map(chip))];
  if (detail.sites?.length) {
    const tenth = Math.ceil(detail.rank.length / 10);
    const found = detail.sites.filter((place) => detail.rank[place] <= tenth).length;
    const ranked = [...detail.sites].sort((one, other) => detail.rank[one] - detail.rank[other]);
    body.push(
      make("h3", {}, `Known sites: ${found} of ${detail.sites.length} among the tenth ranked highest (${tenth} residues)`, help(HELP.sites)),
      make("div", { class: "chips" }, ranked.map((place) => make("button", {
        type: "button", class: "chip site", onmouseenter: () => point(place), onfocus: () => point(place), onmouseleave: () => point(null),
      }, residueName(detail, place), make("small", {}, `rank ${detail.rank[place]}`)))));
  }
  return section("Most important residues", null, body);
}

/** How far the probability of the class that is most likely changes without a substructure. */
function changeColumn(detail, label) {
  const before = detail.probabilities[label];
  const top = Object.keys(before).sort((one, other) => before[other] - before[one])[0];
  const change = (part) => (isNumber(part.without?.[label]?.[top]) ? 100 * (part.without[label][top] - before[top]) : null);
  const text = (value) => (isNumber(value) ? `${value > 0 ? "+" : ""}${value.toFixed(1)}` : "–");
  return {
    name: `${top} without it`, help: HELP.without, number: true, value: change,
    cell: (part) => make("span", { class: change(part) < -1 ? "falls" : null }, text(change(part))),
  };
}

function partTable(detail, choose) {
  const largest = Math.max(...detail.substructures.map((part) => part.importance)) || 1;
  const columns = [
    { name: "no.", value: (part) => part.number, cell: (part) => make("button", {
      type: "button", class: "part", "data-part": part.number, "aria-pressed": "false", onclick: () => choose(part.number) },
      swatch(partColor(part.number)), String(part.number)) },
    { name: "token", help: HELP.token, value: (part) => part.token, cell: (part) => tokenLink(part.token) },
    { name: "importance", help: HELP.importance, number: true, value: (part) => part.importance,
      cell: (part) => make("span", { class: "measured" }, bar(part.importance / largest), percent(part.importance, 1)) },
    ...facts.labels.filter((label) => detail.probabilities[label.name]).map((label) => changeColumn(detail, label.name)),
    { name: "residues", number: true, value: (part) => part.size, cell: (part) => whole(part.size) },
    { name: "from, to", cell: (part) => `${part.first} – ${part.last}` },
    { name: "helix, strand, coil", help: HELP.shape, value: (part) => part.helix, cell: shapeBar },
  ];
  if (detail.sites) {
    columns.push({ name: "known sites", number: true, value: (part) => part.num_sites, cell: (part) => whole(part.num_sites) });
  }
  return table(columns, detail.substructures, { sort: 2, down: true });
}
