"use strict";
// Runs before the page is drawn, so that a chosen theme does not flash.

const THEMES = ["system", "light", "dark"];

function storedTheme() {
  try {
    return localStorage.getItem("fer_bench.theme") ?? "system";
  } catch {
    return "system"; // a browser may refuse storage to a file
  }
}

function setTheme(name) {
  const theme = THEMES.includes(name) ? name : "system";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("fer_bench.theme", theme);
  } catch {
    // then the choice lasts as long as the page
  }
}

setTheme(storedTheme());
document.documentElement.classList.add("scripts");
