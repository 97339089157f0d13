"use strict";
// Hides the paths that do not contain what is searched, and the folders that hold no other.
const search = document.getElementById("search");
if (search) {
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    for (const path of document.querySelectorAll("details.path")) {
      path.hidden = !path.dataset.path.toLowerCase().includes(wanted);
    }
    const folders = [...document.querySelectorAll(".tree details:not(.path)")].reverse();
    for (const folder of folders) {
      folder.hidden = !folder.querySelector(":scope > details:not([hidden])");
    }
  });
}
