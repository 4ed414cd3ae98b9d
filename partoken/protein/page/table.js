// Tables that sort when one clicks a heading, and show long lists in parts.

const ROWS_AT_ONCE = 100;

/** Compares numbers and texts; what is missing comes last, whatever the direction. */
function compareBy(value, isDown) {
  const missing = (one) => one === null || one === undefined || one === "";
  return (one, other) => {
    const [a, b] = [value(one), value(other)];
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return isDown ? -order : order;
  };
}

/** Fills a list with the first elements; `makeOne` is called for those that are shown. Returns the button for more. */
function inParts(list, atOnce) {
  let [shown, rows, makeOne] = [atOnce, [], null];
  const draw = () => {
    list.replaceChildren(...rows.slice(0, shown).map(makeOne));
    more.hidden = rows.length <= shown;
    more.textContent = `Show more (${whole(shown)} of ${whole(rows.length)})`;
  };
  const more = make("button", { type: "button", class: "more", onclick: () => { shown *= 4; draw(); } });
  const fill = (all, one) => {
    [rows, makeOne] = [all, one];
    draw();
  };
  return { fill, more };
}

/**
 * Makes a table.
 *
 * A column has `name`, `cell(row)` (a text or an element), and if it sorts `value(row)`; `number` aligns it to the right,
 * `help` explains it. `options.row(element, row)` may change the element of a row; `options.sort` is the index of the column
 * that sorts at first, and `options.down` its direction. `options.state` keeps the order while other views are shown.
 */
function table(columns, rows, options = {}) {
  const state = options.state ?? {};
  state.sort ??= options.sort ?? null;
  state.down ??= options.down ?? false;
  const body = make("tbody");
  const parts = inParts(body, ROWS_AT_ONCE);
  const heads = columns.map((column, at) => {
    const sort = () => {
      state.down = state.sort === at ? !state.down : Boolean(column.number);
      state.sort = at;
      fill();
    };
    const name = column.value ? make("button", { type: "button", class: "sort", onclick: sort }, column.name) : column.name;
    return make("th", { class: column.number ? "number" : null, scope: "col" }, name, column.help ? help(column.help) : null);
  });

  function fill() {
    const column = columns[state.sort];
    const sorted = column ? [...rows].sort(compareBy(column.value, state.down)) : rows;
    heads.forEach((head, at) => {
      if (at === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    parts.fill(sorted, (row) => {
      const cells = columns.map((each) => make("td", { class: each.number ? "number" : each.class }, each.cell(row)));
      const element = make("tr", {}, cells);
      options.row?.(element, row);
      return element;
    });
  }

  fill();
  return make("div", {}, make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, heads)), body)), parts.more);
}
