// The sequence as rows of letters: importance as height, a band for the substructure, a mark for a known site.

const CELL = 11;
const ROW = { bars: 34, band: 5, letters: 12, gap: 26 };

/** Makes the strip. `point(place)` is called for the residue that one points at or reaches by arrow keys, or with null. */
function sequenceStrip(detail, point) {
  const length = detail.sequence.length;
  const box = make("div", {
    class: "strip", tabindex: "0", role: "application",
    "aria-label": `Sequence of ${length} residues; the arrow keys move from residue to residue`,
  });
  let [columns, only, at] = [0, null, null];
  let cells = [];

  function place(i) {
    const row = Math.floor(i / columns);
    return [(i % columns) * CELL, row * (ROW.bars + ROW.band + ROW.letters + ROW.gap) + 16];
  }

  function draw() {
    columns = Math.max(10, Math.floor(box.clientWidth / CELL / 10) * 10);
    const rows = Math.ceil(length / columns);
    const height = rows * (ROW.bars + ROW.band + ROW.letters + ROW.gap) + 4;
    cells = detail.importance.map((importance, i) => {
      const [x, y] = place(i);
      const part = importance / detail.largest;
      const tall = Math.max(1, ROW.bars * part);
      const number = detail.substructure[i];
      return make(
        "g", { "data-place": i, class: only !== null && number !== only ? "faint" : null },
        make("rect", { class: "cell", x, y, width: CELL, height: ROW.bars + ROW.band + ROW.letters + 6 }),
        make("rect", { x: x + 1, width: CELL - 2, y: y + ROW.bars - tall, height: tall, fill: importanceColor(part) }),
        number ? make("rect", { x, y: y + ROW.bars + 2, width: CELL, height: ROW.band, fill: partColor(number) }) : null,
        make("text", { class: "letter", x: x + CELL / 2, y: y + ROW.bars + ROW.band + ROW.letters }, detail.sequence[i]),
        detail.isSite.has(i)
          ? make("path", { fill: SITE, d: `M${x + CELL / 2 - 4} ${y - 9}h8l-4 7z` })
          : null,
        i % 10 === 0 && i % columns <= columns - 4
          ? make("text", { class: "tick", x: x + 1, y: y + ROW.bars + ROW.band + ROW.letters + 13 }, detail.numbers[i] || i + 1)
          : null,
      );
    });
    box.replaceChildren(make("svg", { width: columns * CELL, height, viewBox: `0 0 ${columns * CELL} ${height}` }, cells));
    mark(at);
  }

  function mark(wanted) {
    cells[at]?.classList.remove("on");
    at = wanted;
    cells[at]?.classList.add("on");
  }

  box.addEventListener("mousemove", (event) => {
    const found = event.target.closest("[data-place]");
    if (found && Number(found.dataset.place) !== at) point(Number(found.dataset.place));
  });
  box.addEventListener("mouseleave", () => point(null));
  box.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!step) return;
    event.preventDefault();
    point(Math.max(0, Math.min(length - 1, at === null ? 0 : at + step)));
  });
  const watcher = new ResizeObserver(() => {
    if (Math.max(10, Math.floor(box.clientWidth / CELL / 10) * 10) !== columns) draw();
  });
  watcher.observe(box);
  const choose = (number) => {
    only = number;
    if (columns) draw();
  };
  return { box, mark, draw, choose };
}
