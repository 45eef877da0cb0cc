// Draw everything once, then follow the reader.

function wire() {
  byId("main").addEventListener("click", chooseMark);
  byId("filter").addEventListener("input", (event) => set({ filter: event.target.value }));
  byId("only-front").addEventListener("change", (event) => set({ onlyFront: event.target.checked }));
  byId("copy").addEventListener("click", copyCommand);
  darkScheme.addEventListener("change", () => set({ dark: darkScheme.matches }));
}

fill("shared", facts(DATA.shared));
byId("shared-settings").hidden = !DATA.shared.length;
drawTable();
drawSettingFilters();
wire();
set({ ...state, dark: darkScheme.matches });
