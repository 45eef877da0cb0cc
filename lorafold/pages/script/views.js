// Parts of a page that follow its `state`, what the reader has chosen: each page has its own.

const views = [];

/** Call `draw` whenever one of the `keys` of the state is set. */
function view(keys, draw) {
  views.push({ keys, draw });
}

function set(change) {
  Object.assign(state, change);
  for (const { keys, draw } of views) if (keys.some((key) => key in change)) draw();
}
