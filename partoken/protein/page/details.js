// What is known of a single chain: unpacked when it is shown, its residues in words, and its downloads.

const facts = JSON.parse(document.getElementById("facts").textContent);
const chainOf = new Map(facts.chains.map((chain) => [chain.id, chain]));
const kept = new Map();
const MOST_KEPT = 30;

/** Returns the details of a chain, or null if the page has none. */
async function detailOf(id) {
  if (kept.has(id)) return kept.get(id);
  if (!Object.hasOwn(facts.details, id)) return null;
  const bytes = Uint8Array.from(atob(facts.details[id]), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const detail = JSON.parse(await new Response(stream).text());
  const order = detail.importance.map((_, place) => place).sort((one, other) => detail.importance[other] - detail.importance[one]);
  detail.id = id;
  detail.order = order;
  detail.rank = new Array(order.length);
  order.forEach((place, at) => { detail.rank[place] = at + 1; });
  detail.largest = Math.max(...detail.importance) || 1;
  detail.isSite = new Set(detail.sites ?? []);
  if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value);
  kept.set(id, detail);
  return detail;
}

/** Name and number of a residue as in the file of its chain. */
function residueName(detail, place) {
  return `${detail.names[place] || detail.sequence[place]} ${detail.numbers[place] || place + 1}`;
}

function residueText(detail, place) {
  const number = detail.substructure[place];
  const part = number ? `substructure ${number}, token ${detail.substructures.find((one) => one.number === number)?.token}` : "no substructure";
  const rank = `importance ${percent(detail.importance[place], 1)}, rank ${detail.rank[place]} of ${detail.rank.length}`;
  return `${residueName(detail, place)} · ${rank} · ${part}${detail.isSite.has(place) ? " · known site" : ""}`;
}

/** A name that every system accepts for a file. */
const fileName = (id) => id.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 80) || "chain";

function quoted(cell) {
  const text = String(cell ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The residues of a chain as CSV, with the columns of `partoken predict --explain`. */
function residueTable(detail) {
  const rows = [["id", "chain", "number", "insertion_code", "residue", "position", "importance", "substructure", "site"]];
  detail.importance.forEach((importance, place) => {
    const [, number, code] = /^(-?\d*)(.*)$/.exec(detail.numbers[place] ?? "");
    const site = detail.sites ? Number(detail.isSite.has(place)) : "";
    const part = detail.substructure[place] || "";
    rows.push([detail.id, detail.chain, number, code, detail.names[place], place, importance.toPrecision(6), part, site]);
  });
  return rows.map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
}

function downloads(detail) {
  const name = fileName(detail.id);
  const ending = detail.format === "pdb" ? "pdb" : "cif";
  return make(
    "p", { class: "downloads" },
    make("button", { type: "button", onclick: () => download(`${name}.${ending}`, detail.structure, "text/plain") },
      "Structure with importance as B factor"),
    make("button", { type: "button", onclick: () => download(`${name}.csv`, residueTable(detail), "text/csv") },
      "Residues as CSV"),
  );
}
