// The data of the page (see payload.py) and how to look things up in it.
// m = number of a module, p = number of a pair, side = "left" or "right".

const DATA = JSON.parse(document.getElementById("data").textContent);
const ADAPTERS = DATA.adapters;
const MODULES = DATA.modules; // columns
const PAIRS = DATA.pairs;
const COUNT = MODULES.name.length;
const SIDES = ["left", "right"];
const SIDE_NAMES = { left: "Left: column space", right: "Right: row space" };
const MERGED = ADAPTERS.findIndex((adapter) => adapter.role === "merged"); // -1 after a comparison

/** The pairs to choose from: those of inputs. A single input has only its pair with the merged adapter. */
const CHOICES = (() => {
  const all = PAIRS.map((_, p) => p);
  const inputs = all.filter((p) => !PAIRS[p].pair.includes(MERGED));
  return inputs.length ? inputs : all;
})();

function findPair(a, b) {
  return PAIRS.findIndex(({ pair }) => pair.includes(a) && pair.includes(b));
}

/** The pairs that figures set side by side: one, or after a merge before and after. */
function panelsOf(p) {
  const { pair } = PAIRS[p];
  if (MERGED < 0 || pair.includes(MERGED)) return [p];
  return [p, ...pair.map((adapter) => findPair(adapter, MERGED)).filter((found) => found >= 0)];
}

const isAfter = (p) => PAIRS[p].pair.includes(MERGED);

/** "1 and 2", "merged and 1". */
function pairName(p) {
  const [a, b] = PAIRS[p].pair;
  const order = b === MERGED ? [b, a] : [a, b];
  return order.map((adapter) => ADAPTERS[adapter].label).join(" and ");
}

/** The same, with "Before" or "After" in front of it after a merge. */
function panelName(p) {
  if (MERGED < 0) return pairName(p);
  return `${isAfter(p) ? "After" : "Before"}: ${pairName(p)}`;
}

/** One number of one side of a module, such as "phi", or null. */
const measure = (p, side, key, m) => PAIRS[p][side][key][m] ?? null;

/** How far phi is above that of random subspaces, or null. */
const aboveRandom = (p, side, m) => difference(measure(p, side, "phi", m), measure(p, side, "random", m));

/** How far phi of the directions that are compared with the null is above the median of its draws, or null. */
const aboveNull = (p, side, m) => difference(measure(p, side, "null_phi", m), measure(p, side, "null_median", m));

const difference = (value, level) => (value === null || level === null ? null : value - level);

/** What a pair is measured by: "panel", "mismatched layers", or null without either. */
const nullKind = (p) => PAIRS[p].summary?.null?.kind ?? null;
const HAS_NULL = PAIRS.some((_, p) => nullKind(p));

/** Mean phi and what it stands beside, of a pair or a part of the model: the median of its null, else random. */
function beside({ phi, random, null_phi: ofNull, null_median: median }) {
  return median == null ? [phi, random] : [ofNull, median];
}

/** Width of the layer on a side. */
const ambient = (side, m) => MODULES.shape[m]?.[side === "left" ? 0 : 1] ?? null;

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/** Angles in degrees, packed as 16 bits. */
function degreesOf(base64) {
  const view = new DataView(bytesOf(base64).buffer);
  return Array.from({ length: view.byteLength / 2 }, (_, i) => (view.getUint16(2 * i, true) / 65535) * 90);
}

/** The principal angles of a module, ascending, or null. */
function anglesOf(p, side, m) {
  const packed = PAIRS[p][side].angles[m];
  return packed ? degreesOf(packed) : null;
}

/** 5 % and 95 % quantile of every angle of random subspaces, or null where none were sampled. */
function bandOf(p, side, m) {
  const key = [ambient(side, m), measure(p, side, "k", m), measure(p, side, "l", m)].join();
  return DATA.bands[key]?.map(degreesOf) ?? null;
}

/** phi(i, j) of a module: rows and columns, value(row, column), and the i and j that they stand for; or null. */
function gridOf(p, side, m) {
  const packed = PAIRS[p][side].grids[m];
  if (!packed) return null;
  const [top, k, l, text] = packed;
  const cells = bytesOf(text);
  const [rows, columns] = [k, l].map((size) => Math.ceil(size / DATA.step));
  const i = (row) => k - DATA.step * (rows - 1 - row);
  const j = (column) => l - DATA.step * (columns - 1 - column);
  const n = ambient(side, m);
  return {
    rows,
    columns,
    i,
    j,
    phi: (row, column) => (cells[row * columns + column] / 255) * top,
    random: (row, column) => (n === null ? 0 : Math.max(i(row), j(column)) / n),
  };
}

/** Largest of the finite numbers, at least `floor`. */
function largest(values, floor = 0) {
  let result = floor;
  for (const value of values) if (value > result) result = value;
  return result;
}
