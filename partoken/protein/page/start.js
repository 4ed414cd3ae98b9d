// Chooses the view by the part of the address after "#", so that links and the buttons of the browser work.

const VIEWS = { index: showChains, chain: showChain, dictionary: showDictionary, token: showToken, model: showModel };
const TABS = [["index", "Chains"], ["dictionary", "Dictionary"], ["model", "Model"]];
const TAB_OF = { chain: "index", token: "dictionary" };
let current = null;
let visit = 0;

function header() {
  const links = TABS.map(([view, name]) => make("a", { href: `#${view}`, "data-view": view }, name));
  return make("header", { class: "top" }, make("div", { class: "title" }, make("strong", {}, facts.about.title),
    make("p", { class: "muted" }, facts.about.learned)), make("nav", { "aria-label": "Views" }, links));
}

/** The view and its arguments; parts that are not valid text stay as they are. */
function route() {
  const parts = location.hash.slice(1).split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return Object.hasOwn(VIEWS, parts[0]) ? parts : ["index"];
}

async function go(isFirst = false) {
  const [view, name, part] = route();
  visit += 1;
  const own = visit;
  const made = await VIEWS[view](name, part === undefined ? null : Number(part));
  if (own !== visit) return; // another view was chosen while this one was made
  hideTip();
  current = Array.isArray(made) ? { content: made } : made;
  const main = document.getElementById("view");
  parkStructure();
  main.replaceChildren(...current.content.flat(Infinity).filter(Boolean));
  main.dataset.view = view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === (TAB_OF[view] ?? view)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = main.querySelector("h1");
  document.title = `${heading.textContent} · ${facts.about.title}`;
  scrollTo(0, 0);
  if (!isFirst) heading.focus({ preventScroll: true });
  await current.begin?.();
}

document.body.prepend(header());
addEventListener("hashchange", () => go());
addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
darkness.addEventListener("change", () => current?.repaint?.());
go(true);
