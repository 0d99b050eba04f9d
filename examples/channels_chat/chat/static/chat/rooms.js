"use strict";
document.querySelector("#enter").addEventListener("submit", (event) => {
  event.preventDefault();
  location.pathname = `/${event.target.elements.name.value}/`;
});
