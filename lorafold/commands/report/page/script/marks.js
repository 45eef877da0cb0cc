// The runs in the figures, which are drawn already: press one to choose it; the filters fade the others.

const marks = [...document.querySelectorAll("[data-run]")];
const runOf = (mark) => Number(mark.dataset.run);

function markChosen() {
  for (const mark of marks) mark.classList.toggle("chosen", runOf(mark) === state.run);
  for (const mark of marks) if (runOf(mark) === state.run) mark.closest(".chart").append(mark); // on top
}

function fade() {
  const shown = matching();
  for (const mark of marks) mark.classList.toggle("faded", !shown.has(runOf(mark)));
}

function chooseMark(event) {
  const mark = event.target.closest("[data-run]");
  if (mark) set({ run: runOf(mark) });
}

view(["run"], markChosen);
view(FILTERS, fade);
