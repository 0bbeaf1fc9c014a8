"use strict";
// Sorting by raw values, filtering, and choosing columns.

const FEW_VALUES = 14; // of a text column that has a filter of its own
const [LONG_TEXT, LONGER_TEXT] = [28, 70]; // characters; the text is broken into lines
const collator = new Intl.Collator("en", { numeric: true });

/** Read a column's raw values: numbers, lists and truths where all of them are such, else texts; null for none. */
function rawValues(rows, place) {
  const texts = rows.map((row) => row.cells[place].dataset.value ?? null);
  try {
    const values = texts.map((text) => (text === null ? null : JSON.parse(text)));
    return values.some((value) => typeof value === "string") ? texts : values;
  } catch {
    return texts;
  }
}

function compare(a, b) {
  if (typeof a === "string") return collator.compare(a, b);
  if (!Array.isArray(a)) return a - b;
  for (let place = 0; place < Math.min(a.length, b.length); place += 1) {
    if (a[place] !== b[place]) return compare(a[place], b[place]);
  }
  return a.length - b.length;
}

/** Order rows by their values; what has none comes last, whichever the direction. */
function ordered(rows, values, sign) {
  const keyed = rows.map((row, place) => ({ row, value: values[place], place }));
  keyed.sort((a, b) => {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.place - b.place;
    return sign * compare(a.value, b.value) || a.place - b.place;
  });
  return keyed.map((each) => each.row);
}

class LiveTable {
  constructor(table, tones) {
    this.table = table;
    this.body = table.tBodies[0];
    this.rows = [...this.body.rows]; // in the order of the records
    this.headings = [...table.tHead.rows[0].cells];
    this.titles = this.headings.map((heading) => heading.textContent);
    this.texts = this.rows.map((row) => [...row.cells].map((cell) => cell.textContent));
    this.filters = new Map(); // place of a column -> the text that a row must have there
    this.headings.forEach((heading, place) => this.makeSortable(heading, place));
    this.giveRoom();
    this.showVerdicts(tones);
    table.closest(".table").prepend(this.toolbar());
    this.filter();
  }

  /** Mark the columns of long texts, which a narrow table would squeeze into a word a line. */
  giveRoom() {
    this.headings.forEach((_, place) => {
      const longest = Math.max(...this.texts.map((texts) => texts[place].length));
      for (const row of this.rows) {
        row.cells[place].classList.toggle("long", longest > LONG_TEXT);
        row.cells[place].classList.toggle("longer", longest > LONGER_TEXT);
      }
    });
  }

  makeSortable(heading, place) {
    const button = html("button", { type: "button", class: "sort", onclick: () => this.sort(place) });
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
  }

  sort(place) {
    const next = { none: "ascending", ascending: "descending", descending: "none" };
    const order = next[this.headings[place].getAttribute("aria-sort")];
    this.headings.forEach((heading) => heading.setAttribute("aria-sort", "none"));
    this.headings[place].setAttribute("aria-sort", order);
    const sign = order === "descending" ? -1 : 1;
    this.body.append(...(order === "none" ? this.rows : ordered(this.rows, rawValues(this.rows, place), sign)));
    this.say(order === "none" ? "in the order of the records" : `by ${this.titles[place]}, ${order}`);
  }

  toolbar() {
    this.search = html("input", { type: "search", oninput: () => this.filter() });
    this.where = html(
      "select",
      { onchange: () => this.filter() },
      option("", "any column"),
      ...this.titles.map((title, place) => option(String(place), title)),
    );
    this.status = html("p", { class: "status", role: "status" });
    const choices = this.headings.flatMap((heading, place) => this.choice(heading, place));
    return html(
      "div",
      { class: "tools" },
      labelled("Filter", this.search),
      labelled("in", this.where),
      ...choices,
      this.chooser(),
      this.status,
    );
  }

  /** Make a list to choose from, for texts that repeat and for yes and no. */
  choice(heading, place) {
    const cells = this.rows.map((row) => row.cells[place]).filter((cell) => "value" in cell.dataset);
    const texts = heading.classList.contains("left"); // of which the raw value is what is written
    const named = new Map(cells.map(({ dataset: { value }, textContent }) => [value, texts ? value : textContent]));
    const few = named.size > 1 && named.size <= FEW_VALUES && named.size < cells.length;
    if (!few || !(texts || [...named.keys()].every((value) => ["true", "false"].includes(value)))) return [];
    const select = html("select", {
      "data-column": heading.dataset.key,
      onchange: () => {
        this.filters.set(place, select.value);
        this.filter();
      },
    });
    const options = [...named].sort(([a], [b]) => collator.compare(a, b)).map(([value, text]) => option(value, text));
    select.append(option("", "all"), ...options);
    return [labelled(this.titles[place], select)];
  }

  chooser() {
    const boxes = this.titles.map((title, place) => {
      const box = html("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => this.showColumn(place, box.checked));
      return html("label", {}, box, html("span", {}, title));
    });
    return html(
      "details",
      { class: "columns" },
      html("summary", {}, "Columns"),
      html("div", { class: "boxes" }, ...boxes.slice(1)), // the first names the row
    );
  }

  showColumn(place, shown) {
    for (const row of [this.table.tHead.rows[0], ...this.rows]) row.cells[place].hidden = !shown;
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.rows.forEach((row, index) => {
      const texts = this.where.value === "" ? this.texts[index] : [this.texts[index][Number(this.where.value)]];
      const text = texts.join("\n").toLowerCase();
      const chosen = [...this.filters].every(([place, value]) => !value || row.cells[place].dataset.value === value);
      row.hidden = !chosen || !words.every((word) => text.includes(word));
    });
    this.say();
  }

  say(how = "") {
    const shown = this.rows.filter((row) => !row.hidden).length;
    const all = this.rows.length;
    const count = shown === all ? `${all} rows` : `${shown} of ${all} rows`;
    this.status.textContent = how ? `${count}, ${how}` : count;
  }

  /** Give verdicts a colour and a sign; the text alone says as much. */
  showVerdicts(tones) {
    const place = this.headings.findIndex((heading) => heading.dataset.key === "verdict");
    if (place < 0) return;
    for (const row of this.rows) {
      const cell = row.cells[place];
      const tone = tones[cell.dataset.value] ?? "open";
      const shown = html("span", { class: `tone ${tone}` });
      shown.append(...cell.childNodes);
      cell.append(shown);
    }
  }
}

/** Show a note where its number stands, so that nobody has to go to the end of the table and back. */
function showNotes(table) {
  for (const link of table.querySelectorAll("sup a")) {
    const showNote = () => {
      const note = document.getElementById(link.hash.slice(1));
      tip.show(link.getBoundingClientRect(), `Note ${link.textContent}`, [["", note.textContent]]);
    };
    for (const event of ["pointerenter", "focus"]) link.addEventListener(event, showNote);
    for (const event of ["pointerleave", "blur"]) link.addEventListener(event, tip.hide);
  }
}
