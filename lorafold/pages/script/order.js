// How tables sort, and what their filters let through.

/** What is missing comes last, whichever way; equal values keep the order of the file. */
function comparison(values, down) {
  return (a, b) => {
    const [x, y] = [values[a], values[b]];
    if (x == null || y == null) return (x == null) - (y == null) || a - b;
    const order = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return (down ? -order : order) || a - b;
  };
}

const wordsOf = (filter) => filter.toLowerCase().split(/\s+/).filter(Boolean);

/** Whether the text has every one of the words, in lower case, somewhere. */
function hasAll(text, words) {
  const lower = text.toLowerCase();
  return words.every((word) => lower.includes(word));
}
