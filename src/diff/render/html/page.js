"use strict";
// Hides the paths that are not searched for, those of kinds that are not chosen, and the folders
// that hold no other.
const filters = document.querySelector(".filters");
if (filters) {
  const apply = () => {
    const wanted = document.getElementById("search").value.trim().toLowerCase();
    const kinds = new Set([...filters.querySelectorAll(":checked")].map((box) => box.value));
    // What is inside a folder comes before it.
    for (const entry of [...document.querySelectorAll(".tree details")].reverse()) {
      const path = entry.dataset.path;
      const kind = [...entry.classList].find((name) => name !== "path");
      const found = path !== undefined && kinds.has(kind) && path.toLowerCase().includes(wanted);
      entry.hidden = !found && !entry.querySelector(":scope > details:not([hidden])");
    }
  };
  filters.addEventListener("input", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
}
