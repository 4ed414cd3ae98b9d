"use strict";
// Sorts a table by the column whose heading is clicked, and marks everywhere the job or group at which one points.

const valueOf = (row, column) => {
  const text = row.cells[column].dataset.sort ?? row.cells[column].textContent;
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
};

function compare(one, other) {
  if (one === other) return 0;
  if (one === "" || other === "") return one === "" ? 2 : -2; // empty cells stay last
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return one < other ? -1 : 1;
}

for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const cells = [...body.rows].map((row) => row.cells[column]).filter(Boolean);
    if (cells.length && cells.every((cell) => cell.classList.contains("number"))) head.classList.add("number");
    if (head.textContent === "") return;
    head.addEventListener("click", () => {
      const isDown = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const rows = [...body.rows].sort((one, other) => {
        const order = compare(valueOf(one, column), valueOf(other, column));
        return Math.abs(order) === 2 ? order : isDown ? -order : order;
      });
      body.append(...rows);
    });
  });
}

const elements = { job: new Map(), group: new Map() };
const groupOfJob = new Map();
for (const element of document.querySelectorAll("[data-job]")) {
  const { job, group } = element.dataset;
  if (!elements.job.has(job)) elements.job.set(job, []);
  elements.job.get(job).push(element);
  if (group !== undefined) groupOfJob.set(job, group);
}
for (const [job, group] of groupOfJob) {
  elements.group.set(group, [...(elements.group.get(group) ?? []), ...elements.job.get(job)]);
}

const labels = new Map(); // the titles of the pictures, which a browser shows late and unformatted
for (const title of document.querySelectorAll("svg title")) {
  const { job } = title.parentNode.dataset;
  if (!labels.has(job) || title.textContent.length > labels.get(job).length) labels.set(job, title.textContent);
  title.remove();
}

const tip = document.getElementById("tip");
let marked = [];

function mark(found) {
  marked.forEach((element) => element.classList.remove("on"));
  marked = found ?? [];
  marked.forEach((element) => element.classList.add("on"));
  document.body.classList.toggle("dim", marked.length > 0);
}

document.addEventListener("mouseover", (event) => {
  const element = event.target.closest("[data-job], [data-group]");
  if (element === null) {
    mark();
    tip.hidden = true;
    return;
  }
  const { job, group } = element.dataset;
  mark(job === undefined ? elements.group.get(group) : elements.job.get(job));
  const text = element.closest("svg") && job !== undefined ? labels.get(job) : undefined;
  tip.hidden = text === undefined;
  tip.textContent = text ?? "";
});

document.addEventListener("mousemove", (event) => {
  const isRight = event.clientX > window.innerWidth / 2;
  tip.style.left = isRight ? "auto" : `${event.clientX + 14}px`;
  tip.style.right = isRight ? `${window.innerWidth - event.clientX + 14}px` : "auto";
  tip.style.top = `${Math.min(event.clientY + 14, window.innerHeight - 60)}px`;
});
