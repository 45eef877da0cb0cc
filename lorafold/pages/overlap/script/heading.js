// What was compared, the reading in words, and the numbers of the chosen pair.

function drawHeading() {
  fill("command", `lorafold ${DATA.command ?? ""}`);
  fill("title", headline());
  fill("adapters", ADAPTERS.map(adapterLine));
  byId("pair-choice").hidden = CHOICES.length < 2;
  fill("pair-label", MERGED < 0 ? "Pair" : "Inputs");
  const options = CHOICES.map((p) => h("option", { value: p }, pairTitle(p)));
  fill("pair", options);
}

function headline() {
  const names = ADAPTERS.filter((adapter) => adapter.role !== "merged").map((adapter) => adapter.name);
  const subject = names.length > 2 ? `${names.length} adapters` : names.join(" and ");
  return MERGED < 0 ? `Overlap of ${subject}` : `${subject}, before and after the merge`;
}

/** "1 and 2: style, character". */
function pairTitle(p) {
  return `${pairName(p)}: ${PAIRS[p].pair.map((adapter) => ADAPTERS[adapter].name).join(", ")}`;
}

function adapterLine({ label, name, role, format, modules, ranks, dtype, norm }) {
  const types = [dtype ?? []].flat().join(", ");
  const parts = [
    format,
    `rank ${span(ranks)}`,
    modules == null ? null : plural(modules, "module"),
    types,
    `norm ${short(norm)}`,
  ];
  return h(
    "li",
    {},
    h("span", { class: "badge" }, role === "merged" ? "M" : label),
    h("span", { class: "adapter-name" }, role === "merged" ? "merged adapter" : name),
    h("span", { class: "adapter-facts" }, parts.filter(Boolean).join(" · ")),
  );
}

function drawSummary() {
  const shown = panels();
  fill("reading", readingOf(state.pair));
  const top = summaryTop(shown);
  const cards = shown.map((p) => card(p, top, shown.length > 1));
  fill("cards", cards);
  byId("cards").classList.toggle("several", shown.length > 1);
}

/** In words, of the chosen pair: of the inputs, not of what a merge made of them. */
function readingOf(p) {
  const { reading, verdict } = PAIRS[p].summary;
  const names = PAIRS[p].pair.map((adapter) => ADAPTERS[adapter].name).join(" and ");
  const tone = (text) => (text.startsWith("Warning") ? "notice" : null);
  const sentences = (reading ?? []).map((text) => h("p", { class: tone(text) }, text));
  return [
    verdict ? h("p", { class: "lead" }, `${names}: ${verdict}`) : null,
    h("div", { class: "sentences" }, sentences),
  ].filter(Boolean);
}

function card(p, top, titled) {
  const { summary, pair } = PAIRS[p];
  const [first, second] = pair.map((adapter) => ADAPTERS[adapter].label);
  const significant = SIDES.map((side) => summary[side]?.significant);
  const tiles = [
    ...SIDES.map((side) => phiTile(summary[side] ?? {}, side, top)),
    tile("beyond chance", joined(significant, " / "), "modules, left / right, by p adjusted"),
    cosineTile(summary),
    tile("norm ratio", short(summary.norm_ratio), `‖ΔW‖ of ${second} to that of ${first}`),
    tile("modules compared", integer(summary.modules), `of ${integer(COUNT)}`),
  ];
  return h("div", { class: "card" }, titled ? h("h3", {}, panelName(p)) : null, h("dl", { class: "tiles" }, tiles));
}

/** End of the scale of the bars in the tiles, common to all cards. */
function summaryTop(shown) {
  const entries = shown.flatMap((p) => SIDES.map((side) => PAIRS[p].summary[side] ?? {}));
  return Math.min(
    1,
    largest(
      entries.flatMap(({ phi, chance }) => [phi, chance]),
      0.01,
    ) * 1.1,
  );
}

function phiTile({ phi, chance, phi_energy: energy }, side, top) {
  const result = tile(`φ ${side}`, overlap(phi), `chance ${overlap(chance)}`, meter(phi, chance, top, side));
  if (energy != null) result.append(h("dd", { class: "note" }, `weighted by norms ${overlap(energy)}`));
  return result;
}

function cosineTile({ cosine: value, cosine_null_sd: spread }) {
  const byChance = spread == null ? "" : `, by chance 0 ± ${short(spread)}`;
  return tile("cosine of the updates", cosine(value), `1 same, −1 opposite${byChance}`);
}

function tile(term, value, note, bar = null) {
  const descriptions = [h("dd", { class: "value" }, value), bar && h("dd", {}, bar), h("dd", { class: "note" }, note)];
  return h("div", { class: "tile" }, h("dt", {}, term), descriptions);
}

view(["pair"], drawSummary);
