"use strict";

// On a phone, tables of three columns and more become lists, whose items need the heads of columns.
function stackTables() {
  for (const table of document.querySelectorAll("table.docutils")) {
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
    if (heads.length < 3) continue;
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, index) => {
        if (cell.textContent.trim()) cell.dataset.label = heads[index];
      });
    }
    table.classList.add("stacked");
  }
}

// Boxes that are wider than their place can be scrolled without a mouse.
function reachScrollers() {
  for (const box of document.querySelectorAll("pre, .table-wrapper, .content")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

// The theme has two landmarks of one kind without names.
document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "Site");
document.querySelector(".toc-drawer")?.setAttribute("aria-label", "Page");
stackTables();
reachScrollers();
addEventListener("resize", reachScrollers);
