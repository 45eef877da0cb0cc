// The data of the page (see payload.py), what the reader has chosen, and which parts of the page depend on it.
// r = number of a run.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const FRONTS = { size: "size", path: "φ" }; // by section, as the table says it

const state = {
  run: DATA.chosen, // r, or null without any
  sort: { key: null, down: false },
  filter: "", // words
  wanted: new Map(), // number of a setting -> its text
  onlyFront: false,
};

/** What a row says, for the filter. */
const rowText = ({ name, command, settings }) => [name, command, ...settings.map(({ text }) => text ?? "")].join(" ");

/** The runs that the filters let through. */
function matching() {
  const words = wordsOf(state.filter);
  const fits = (run) =>
    hasAll(rowText(run), words) &&
    [...state.wanted].every(([index, text]) => run.settings[index].text === text) &&
    (!state.onlyFront || run.fronts.length > 0);
  return new Set([...RUNS.keys()].filter((r) => fits(RUNS[r])));
}

const FILTERS = ["filter", "wanted", "onlyFront"];
