// The structure of a chain in 3D. Two viewers serve the whole page, because a browser draws only a few at a time.

const SIDE_CHAINS = 10; // as many residues of high importance show their atoms

/** Place of the residue of each atom, -1 for ligands and water: residues are found in the order of the chain. */
function placesOf(atoms, detail) {
  const places = new Int32Array(atoms.length).fill(-1);
  let [next, last, place] = [0, null, -1];
  atoms.forEach((atom, at) => {
    const code = (atom.icode ?? "").trim();
    const own = [atom.chain, atom.resi, code, atom.resn].join(" ");
    if (own !== last || (atom.atom === "N" && atoms[at - 1].atom !== "N")) {
      const fits = (i) => {
        const number = detail.numbers[i] || String(i + 1);
        const equal = code ? number === `${atom.resi}${code}` : Number.parseInt(number, 10) === atom.resi;
        return equal && (!detail.names[i] || detail.names[i] === atom.resn);
      };
      place = next;
      while (place < detail.names.length && !fits(place)) place += 1;
      if (place < detail.names.length) next = place + 1;
      else place = -1;
      last = own;
    }
    places[at] = place;
  });
  return places;
}

class Structure {
  constructor(box, options = {}) {
    this.box = box;
    this.viewer = $3Dmol.createViewer(box, { backgroundAlpha: 0, antialias: true, disableFog: true, ...options });
    this.viewer?.setHoverDuration(40);
    this.detail = null;
  }

  /** Reads a chain; `hover` is called with the place of the residue under the pointer, or null. */
  show(detail, hover = null) {
    const viewer = this.viewer;
    this.detail = detail;
    this.mark(null);
    viewer.removeAllModels();
    this.model = viewer.addModel(detail.structure, detail.format);
    this.atoms = this.model.selectedAtoms({});
    this.places = placesOf(this.atoms, detail);
    this.centers = new Map();
    this.atoms.forEach((atom, at) => {
      if (this.places[at] >= 0 && atom.atom === "CA") this.centers.set(this.places[at], atom);
    });
    if (!hover) return;
    const over = (atom) => hover(this.places[atom.index] >= 0 ? this.places[atom.index] : null);
    viewer.setHoverable({}, true, over, () => hover(null));
  }

  /** Indices of the atoms of residues. */
  atomsOf(wanted) {
    return this.atoms.flatMap((atom, at) => (wanted(this.places[at]) ? [atom.index] : []));
  }

  /**
   * Colours the chain.
   *
   * `by` is "importance" or "substructure"; with `only`, a substructure, the others are grey and have the opacity `rest`;
   * `sides` shows the atoms of the residues of the highest importance, or of those of `only`; `sites` marks the known sites.
   */
  paint({ by, only = null, sides = true, sites = true, rest = 1 }) {
    const { viewer, detail, places } = this;
    const plain = css(plainColor());
    const color = (place) => {
      if (place < 0) return plain;
      if (only !== null && detail.substructure[place] !== only) return plain;
      if (by === "substructure") return partColor(detail.substructure[place]);
      return importanceColor(detail.importance[place] / detail.largest);
    };
    const ofAtom = (atom) => color(places[atom.index]);
    const sticks = (carbon) => ({
      stick: { radius: 0.16, colorfunc: (atom) => (atom.elem === "C" ? carbon(atom) : (ELEMENTS[atom.elem] ?? carbon(atom))) },
    });
    const top = new Set(detail.order.slice(0, SIDE_CHAINS));
    const shown = (place) => place >= 0 && (only === null ? top.has(place) : detail.substructure[place] === only);

    const hasBackbone = this.atoms.some((atom) => atom.atom === "O");
    const cartoon = { colorfunc: ofAtom, arrows: true, thickness: 0.35, style: hasBackbone ? "rectangle" : "trace" };
    viewer.setStyle({}, { cartoon });
    if (rest < 1) {
      const others = this.atomsOf((place) => !shown(place));
      viewer.setStyle({ index: others }, { cartoon: { ...cartoon, colorfunc: () => "#8f9ba5", opacity: rest } });
    }
    viewer.addStyle({ index: this.atomsOf((place) => place < 0) }, { stick: { radius: 0.12, colorfunc: () => plain } });
    if (sides) viewer.addStyle({ index: this.atomsOf(shown) }, sticks(ofAtom));
    if (sites && detail.sites?.length) {
      viewer.addStyle({ index: this.atomsOf((place) => detail.isSite.has(place)) }, sticks(() => SITE));
      viewer.addStyle({ index: this.centersOf(detail.sites) }, { sphere: { radius: 1.1, color: SITE } });
    }
    viewer.render();
  }

  centersOf(wanted) {
    return [...wanted].filter((place) => this.centers.has(place)).map((place) => this.centers.get(place).index);
  }

  /** Turns to residues, or to the whole chain. */
  turnTo(wanted = null) {
    this.viewer.zoomTo({ index: this.atomsOf((place) => (wanted ? wanted.has(place) : place >= 0)) });
    const isWide = this.box.clientWidth > 1.3 * this.box.clientHeight;
    this.viewer.zoom(wanted ? 0.8 : isWide ? 1.25 : 0.95); // draws, too
  }

  /** Puts a ball on a residue; null takes it away. */
  mark(place) {
    const center = place === null ? null : this.centers?.get(place);
    if (!this.ball && !center) return;
    if (this.ball) this.viewer.removeShape(this.ball);
    this.ball = center
      ? this.viewer.addSphere({ center: { x: center.x, y: center.y, z: center.z }, radius: 1.7, color: "#1f8fe0", opacity: 0.65 })
      : null;
    this.viewer.render();
  }
}

let large = null;
let small = null;

/** A place outside the window, where a viewer keeps its size while it is not shown. */
function parkingPlace() {
  const place = make("div", { class: "hidden-canvas", "aria-hidden": "true" });
  document.body.append(place);
  return place;
}

/** Takes the large viewer out of a view that is about to go: without a size, a browser complains about each drawing. */
function parkStructure() {
  if (!large) return;
  large.parking ??= parkingPlace();
  large.parking.append(large.box);
}

/** Puts the large viewer into an element; null where the browser cannot draw in 3D. */
function largeStructure(place) {
  if (large) {
    place.append(large.box);
    large.viewer?.resize();
  } else {
    const box = make("div", { class: "canvas" });
    place.append(box);
    large = new Structure(box);
  }
  if (large.viewer) return large;
  place.replaceChildren(make("p", { class: "muted" }, "This browser cannot draw in 3D, because WebGL is off."));
  return null;
}

/** What the picture of an example needs if the page has no more than its CA atoms. */
function traceDetail({ substructure, positions, trace }) {
  const shown = positions.map((position, i) => [position + 1, trace[i]]).filter(([, point]) => point);
  const lines = shown.map(([number, point], i) =>
    `ATOM  ${String(i + 1).padStart(5)}  CA  UNK A${String(number % 10000).padStart(4)}    ${point.map((value) => value.toFixed(3).padStart(8)).join("")}  1.00  0.00           C`);
  return {
    structure: `${lines.join("\n")}\nEND\n`, format: "pdb", names: shown.map(() => "UNK"), numbers: shown.map(([number]) => String(number % 10000)),
    importance: shown.map(() => 0), largest: 1, order: [], substructure: shown.map(() => substructure), sites: null,
    substructures: [{ number: substructure, residues: shown.map((_, i) => i) }],
  };
}

/** Draws an example of a token onto a canvas: within its chain if that has a page, else its CA atoms alone. */
async function picture(canvas, example) {
  const known = await detailOf(example.chain);
  const detail = known ?? traceDetail(example);
  const number = example.substructure;
  if (!canvas.isConnected) return;
  small ??= new Structure(parkingPlace(), { nomouse: true });
  if (!small.viewer) return;
  if (small.detail !== detail) small.show(detail);
  small.viewer.setBackgroundColor(getComputedStyle(document.body).getPropertyValue("--soft").trim(), 1);
  small.paint({ by: known ? "importance" : "substructure", only: number, sites: false, rest: 0.4 });
  const members = new Set(detail.substructures.find((one) => one.number === number)?.residues ?? []);
  small.turnTo(members.size ? members : null);
  const drawn = small.viewer.getCanvas();
  [canvas.width, canvas.height] = [drawn.width, drawn.height];
  canvas.getContext("2d").drawImage(drawn, 0, 0);
}
