// What the reader has chosen, and which parts of the page depend on it.

const state = {
  pair: CHOICES[0], // p
  module: 0, // m
  measure: HAS_NULL ? "null" : "random", // of the overview: null | random | phi
  gridMode: "phi", // of the maps: phi | random | excess
  tablePair: CHOICES[0], // p: one of the panels
  sort: { key: null, down: false },
  filter: "",
  width: 0, // of the page, in pixels
  dark: darkScheme.matches,
};

/** Another pair for the whole page; the table begins with it too. */
const choosePair = (p) => set({ pair: p, tablePair: p });

/** The pairs on show, side by side. */
const panels = () => panelsOf(state.pair);

/** The module to begin with: the one that is furthest above the null in the first pair. */
function mostOverlapping() {
  const [p] = panels();
  const height = (m) =>
    largest(
      SIDES.map((side) => measure(p, side, nullKind(p) ? "effect" : "random_z", m)),
      -Infinity,
    );
  return MODULES.name.reduce((best, _, m) => (height(m) > height(best) ? m : best), 0);
}
