"use strict";
// Brings the page to life.

const CHARTS = {
  explorer: Explorer, latency: Latencies, roofline: Roofline, modules: Modules, sweep: Sweep,
  backends: Backends, curves: Curves,
  classes: Classes, confusion: Confusion, reliability: Reliability,
};

function themeButton() {
  const button = document.getElementById("theme");
  const say = () => {
    const theme = document.documentElement.dataset.theme;
    button.textContent = `Theme: ${theme === "system" ? "as the system" : theme}`;
  };
  button.addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
    say();
  });
  say();
}

function main() {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.body.append(tip.box);
  document.addEventListener("keydown", (event) => event.key === "Escape" && tip.hide());
  themeButton();
  for (const table of document.querySelectorAll(".fer-table")) {
    showNotes(table);
    new LiveTable(table, data.tones);
  }
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const { chart } = figure.dataset;
    new CHARTS[chart.replace("_rendered", "")](figure, data.charts[chart]);
  }
}

main();
