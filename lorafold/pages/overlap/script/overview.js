// Heat map of all modules: one strip of cells per part of the model, side by side for every panel.

const overviewCells = []; // of the first panel, in the order of the page: where the arrow keys walk

/** What the cells show. */
const OVERVIEW = { null: aboveNull, random: aboveRandom, phi: (p, side, m) => measure(p, side, "phi", m) };

function drawOverview() {
  const shown = panels();
  const value = OVERVIEW[state.measure];
  const top = DATA.result ? 1 : niceTop(shown, value); // of merges the same, so that two of them compare
  const scale =
    state.measure === "phi"
      ? legend(top, "φ", "random", randomRange(shown))
      : legend(top, `φ − ${state.measure}`, `${state.measure} or less`, [0, 0]);
  fill("overview-legend", scale);
  overviewCells.length = 0;
  const groups = groupsOf();
  const container = byId("overview-cells");
  const lengths = groups.map(([, members]) => members.length);
  setStyle(container, { "--panels": String(shown.length), "--longest": String(largest(lengths, 1)) });
  container.replaceChildren(overviewHead(shown), ...groups.map((group) => strip(group, shown, value, top)));
  markModule();
}

/** [label, module numbers], block by block. */
function groupsOf() {
  const groups = new Map();
  MODULES.group.forEach((group, m) => {
    const label = group ?? "other";
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push(m);
  });
  return [...groups];
}

function overviewHead(shown) {
  const names = shown.map((p) => h("span", { class: "panel-name" }, panelName(p)));
  return h("div", { class: "strip-row head", hidden: shown.length < 2 }, h("span"), names);
}

function strip([label, members], shown, value, top) {
  const strips = shown.map((p, index) => {
    const cells = members.map((m) => cell(p, m, value, top));
    if (index === 0) overviewCells.push(...cells);
    const tag = shown.length > 1 ? h("span", { class: "panel-tag" }, panelName(p)) : null;
    return h("div", { class: "strip", role: "group", "aria-label": `${label}, ${pairName(p)}` }, tag, cells);
  });
  return h("div", { class: "strip-row" }, h("span", { class: "strip-label" }, label), strips);
}

function cell(p, m, value, top) {
  const [upper, lower] = SIDES.map((side) => value(p, side, m));
  const style = {};
  if (upper !== null) style["--upper"] = ramp(upper / top);
  if (lower !== null) style["--lower"] = ramp(lower / top);
  const label = { "aria-label": cellText(p, m), "data-m": m, "data-p": p };
  return h("button", {
    type: "button",
    class: `cell ${upper === null || lower === null ? "absent" : ""}`,
    tabindex: -1,
    style,
    ...label,
  });
}

function cellText(p, m) {
  const part = (side, key) => overlap(measure(p, side, key, m));
  const null_ = (side) => (nullKind(p) ? `, ${part(side, "null_phi")} beside ${part(side, "null_median")}` : "");
  const sides = SIDES.map((side) => `${side} ${part(side, "phi")} (random ${part(side, "random")})${null_(side)}`);
  return `${MODULES.name[m]}: ${sides.join(", ")}`;
}

/** The end of the scale: the largest value on show, rounded up. */
function niceTop(shown, value) {
  const values = shown.flatMap((p) => SIDES.flatMap((side) => MODULES.name.map((_, m) => value(p, side, m))));
  const top = largest(values, 0.01);
  const unit = 10 ** Math.floor(Math.log10(top)) / 2;
  return Math.min(1, Math.ceil(top / unit - 1e-9) * unit);
}

/** The smallest and the largest level of random subspaces on show. */
function randomRange(shown) {
  const levels = shown.flatMap((p) => SIDES.flatMap((side) => PAIRS[p][side].random.filter((level) => level !== null)));
  return levels.length ? [levels.reduce((a, b) => Math.min(a, b)), largest(levels)] : null;
}

/** Frame the chosen module and make its cell the one that the Tab key reaches. */
function markModule() {
  for (const button of byId("overview-cells").querySelectorAll(".chosen")) button.classList.remove("chosen");
  for (const button of byId("overview-cells").querySelectorAll(`[data-m="${state.module}"]`))
    button.classList.add("chosen");
  for (const button of overviewCells) button.tabIndex = Number(button.dataset.m) === state.module ? 0 : -1;
  fill("overview-readout", cellText(state.pair, state.module));
}

function readCell(event) {
  const button = event.target.closest(".cell");
  if (button) fill("overview-readout", cellText(Number(button.dataset.p), Number(button.dataset.m)));
}

function walkCells(event) {
  const here = overviewCells.indexOf(event.target);
  const walk = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (here < 0 || !walk) return;
  event.preventDefault();
  const next = walk[1] ? inNextLine(event.target, walk[1]) : overviewCells[here + walk[0]];
  if (!next) return;
  set({ module: Number(next.dataset.m) });
  next.focus();
}

/** The cell above (-1) or below (1), as the strips lie on the page. */
function inNextLine(button, direction) {
  const beyond = overviewCells.filter((other) => direction * (other.offsetTop - button.offsetTop) > 0);
  const distance = (other) =>
    1e4 * Math.abs(other.offsetTop - button.offsetTop) + Math.abs(other.offsetLeft - button.offsetLeft);
  return beyond.reduce((best, other) => (best && distance(best) <= distance(other) ? best : other), undefined);
}

function wireOverview() {
  const container = byId("overview-cells");
  container.addEventListener("click", (event) => {
    const button = event.target.closest(".cell");
    if (button) set({ module: Number(button.dataset.m) });
  });
  for (const kind of ["pointerover", "focusin"]) container.addEventListener(kind, readCell);
  container.addEventListener("keydown", walkCells);
}

view(["pair", "measure", "dark"], drawOverview);
view(["module"], markModule);
