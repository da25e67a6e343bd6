"use strict";
// The page is complete without this script, which makes it easier to use. All data is in the
// document; nothing here writes markup.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function element(tag, own, text) {
  const made = document.createElement(tag);
  if (own) made.className = own;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(text, press) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", () => press(made));
  return made;
}

const counted = (n) => `${n.toLocaleString("en")} ${n === 1 ? "picture" : "pictures"}`;

// Tables are sorted by a click on a heading: figures from the largest, names from A, then the other
// way round, then as they were.
function sortable(table) {
  const body = table.tBodies[0], before = [...body.rows];
  const collator = new Intl.Collator("en", { numeric: true });
  const value = (row, column) => row.cells[column].dataset.value;
  const text = (row, column) => row.cells[column].textContent;
  const headings = all("thead th", table);
  const sort = (heading) => {
    const column = heading.cellIndex, numbers = heading.matches(".number, .share");
    const order = numbers ? ["descending", "ascending"] : ["ascending", "descending"];
    const next = order[order.indexOf(heading.getAttribute("aria-sort")) + 1];
    for (const other of headings) other.removeAttribute("aria-sort");
    const rows = [...before];
    if (next) {
      heading.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const missing = (row) => (numbers ? value(row, column) === undefined : !text(row, column));
      rows.sort((a, b) => missing(a) - missing(b) || sign * (numbers
        ? (value(a, column) ?? 0) - (value(b, column) ?? 0)
        : collator.compare(text(a, column), text(b, column))));
    }
    body.append(...rows);
  };
  for (const heading of headings) {
    const made = button(undefined, () => sort(heading));
    made.append(...heading.childNodes);
    heading.append(made);
  }
}

let given = 0;
function labelled(text, field) {
  const label = element("label", "", text);
  field.id = `field_${given += 1}`;
  label.htmlFor = field.id;
  label.append(field);
  return label;
}

// A long table shows the rows that contain what was typed.
function searchable(box) {
  const rows = [...box.querySelector("tbody").rows], field = element("input");
  const said = element("span"), tools = element("div", "tools");
  field.type = "search";
  said.setAttribute("role", "status");
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLocaleLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLocaleLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    said.textContent = wanted ? `${shown} of ${rows.length} rows` : "";
  });
  tools.append(labelled("Filter", field), said);
  box.before(tools);
}

// A gallery shows the pictures of one true class.
function byTrueClass(gallery) {
  const shots = all(".shots > li", gallery);
  const classes = [...new Set(shots.map((shot) => shot.dataset.truth ?? ""))].filter(Boolean);
  if (classes.length < 2) return;
  classes.sort(new Intl.Collator("en", { numeric: true }).compare);
  const choice = element("select"), said = element("span"), tools = element("div", "tools");
  choice.append(new Option("all", ""));
  for (const name of classes) choice.append(new Option(name, name));
  said.setAttribute("role", "status");
  choice.addEventListener("change", () => {
    for (const shot of shots) shot.hidden = choice.value !== "" && shot.dataset.truth !== choice.value;
    said.textContent = counted(shots.filter((shot) => !shot.hidden).length);
  });
  tools.append(labelled("True class", choice), said);
  gallery.querySelector(".shots").before(tools);
}

// A cell of the matrix shows its pictures below; the others are put away.
function matrix(figure) {
  const details = all(".pairs > .pair", figure), buttons = new Map();
  if (details.length === 0) return;
  let listed = false;
  const show = (chosen) => {
    for (const one of details) {
      one.hidden = !listed && one !== chosen;
      one.open = one === chosen;
    }
  };
  for (const one of details) {
    one.addEventListener("toggle", () => buttons.get(one)?.setAttribute("aria-expanded", one.open && !one.hidden));
  }
  for (const cell of all("td[data-pair]", figure)) {
    const own = document.getElementById(cell.dataset.pair);
    const made = button(undefined, () => {
      show(own.open && !own.hidden ? null : own);
      if (own.open) own.scrollIntoView({ block: "nearest" });
    });
    made.append(...cell.childNodes, element("span", "away", own.querySelector(".what").textContent));
    made.setAttribute("aria-controls", own.id);
    made.setAttribute("aria-expanded", "false");
    cell.append(made);
    buttons.set(own, made);
  }
  show(details[0]);
  if (details.length < 2) return;
  const tools = element("div", "tools");
  tools.append(button("Show all", (made) => {
    listed = !listed;
    made.textContent = listed ? "Show the chosen cell only" : "Show all";
    show(details.find((one) => one.open) ?? details[0]);
  }));
  figure.querySelector(".pairs").append(tools);
}

function copyable(box) {
  const code = box.querySelector("code");
  const select = () => getSelection().selectAllChildren(code);
  box.append(button("Copy", async (made) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      made.textContent = "Copied";
    } catch {
      // A page from a file may not be allowed to: then the text is at least selected.
      select();
      made.textContent = "Selected";
    }
    setTimeout(() => { made.textContent = "Copy"; }, 2000);
  }));
}

// The table of contents marks the section that is being read.
function follow() {
  const links = new Map(all(".contents .wide a").map((link) => [link.hash.slice(1), link]));
  const sections = all("main > section");
  const mark = () => {
    const read = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3);
    const current = links.get((read.at(-1) ?? sections[0])?.id);
    for (const link of links.values()) {
      if (link === current) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    }
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mark(); });
  }, { passive: true });
  mark();
}

// On paper nothing can be opened.
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("main details").map((one) => [one, one.open, one.hidden]);
  for (const [one] of folded) { one.open = true; one.hidden = false; }
});
addEventListener("afterprint", () => {
  for (const [one, open, hidden] of folded) { one.open = open; one.hidden = hidden; }
  folded = [];
});

all(".table table").forEach(sortable);
all(".scroll.long").forEach(searchable);
all("[data-filter]").forEach(byTrueClass);
all(".confusion").forEach(matrix);
all(".copied").forEach(copyable);
follow();
