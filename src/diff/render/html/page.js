"use strict";
// The search, which hides what is not searched for: paths of other names, paths of kinds that are not
// chosen, and folders that hold no other. Folding and unfolding all, and keys for it. What is folded
// is unfolded on paper.
const filters = document.querySelector(".filters");
const all = () => [...document.querySelectorAll(".tree details")];
if (filters) {
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const apply = () => {
    const wanted = search.value.trim().toLowerCase();
    const kinds = new Set([...filters.querySelectorAll(":checked")].map((box) => box.value));
    let [shown, count] = [0, 0];
    // What is inside a folder comes before it.
    for (const entry of all().reverse()) {
      const path = entry.dataset.path;
      const kind = [...entry.classList].find((name) => name !== "path");
      const fits = path !== undefined && kinds.has(kind) && path.toLowerCase().includes(wanted);
      entry.hidden = !fits && !entry.querySelector(":scope > details:not([hidden])");
      count += path === undefined ? 0 : 1;
      shown += fits ? 1 : 0;
    }
    found.value = shown === count ? "" : `${shown} of ${count} paths`;
  };
  const open = (wanted) => all().forEach((entry) => { entry.open = wanted; });
  filters.addEventListener("input", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.querySelector(".actions").hidden = false;
  document.getElementById("unfold").addEventListener("click", () => open(true));
  document.getElementById("fold").addEventListener("click", () => open(false));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    if (event.target === search) {
      if (event.key === "Escape") {
        search.value = "";
        search.blur();
        apply();
      }
    } else if (event.key === "/") {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "e") {
      open(!all().every((entry) => entry.open));
    }
  });
}
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((entry) => { entry.open = true; });
});
addEventListener("afterprint", () => folded.forEach((entry) => { entry.open = false; }));
