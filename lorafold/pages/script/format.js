// Numbers and names as text. What is missing is a dash.

const DASH = "–";
const minus = (text) => text.replace("-", "−");

/** With a fixed number of decimals. */
function fixed(value, digits = 3) {
  if (value == null) return DASH;
  return minus((Number(value.toFixed(digits)) || 0).toFixed(digits)); // no -0.000
}

/** Overlaps; cosines, which are smaller. */
const overlap = (value) => fixed(value, 3);
const cosine = (value) => fixed(value, 4);

/** With three significant digits: norms, ratios, seconds. */
function short(value) {
  if (value == null) return DASH;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return scientific(value);
  return minus(size >= 100 ? value.toFixed(0) : value.toPrecision(3));
}

/** z-scores: one decimal until they are large. */
const score = (value) => fixed(value, Math.abs(value) < 100 ? 1 : 0);

/** Probabilities: three decimals, or a power of ten. */
function probability(value) {
  if (value == null) return DASH;
  if (value === 0) return "< 1e−300";
  return value < 1e-3 ? scientific(value) : value.toFixed(3);
}

const scientific = (value) => minus(minus(value.toExponential(1)));

const integer = (value) => (value == null ? DASH : value.toLocaleString("en"));

/** "320 × 768"; null members are dashes. */
const joined = (values, separator) => (values?.length ? values.map((value) => value ?? DASH).join(separator) : DASH);

/** "16", "4–32": the ranks of an adapter. */
function span(values) {
  if (!values?.length) return DASH;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low === high ? `${low}` : `${low}–${high}`;
}

const plural = (count, noun) => `${integer(count)} ${noun}${count === 1 ? "" : "s"}`;
