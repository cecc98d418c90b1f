"use strict";
// Shows the tests of a stage when its section is opened: text only, some hundred rows at a time.
const ROWS = 500;
const NEUTRAL = new Set(["skipped", "measured"]);

async function rowsOf(section) {
  const packed = section.querySelector("script[type='text/plain']").textContent.trim();
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

function line([kind, name, time, said]) {
  const row = element("tr", NEUTRAL.has(kind) ? "neutral" : "passed", "");
  const cell = element("td", "name", said ? "" : name);
  if (said) {
    const more = document.createElement("details");
    more.append(element("summary", "", name), element("pre", "", said));
    cell.append(more);
  }
  row.append(element("td", "badge", (NEUTRAL.has(kind) ? "– " : "✓ ") + kind), cell);
  row.append(element("td", "right muted", time));
  return row;
}

async function show(section) {
  const rows = await rowsOf(section);
  const table = section.querySelector("table.passed-tests");
  const more = section.querySelector("button");
  const filter = section.querySelector("input");
  let wanted = rows;
  let shown = 0;
  const add = () => {
    for (const row of wanted.slice(shown, shown + ROWS)) table.append(line(row));
    shown = Math.min(shown + ROWS, wanted.length);
    more.hidden = shown === wanted.length;
    more.textContent = `${wanted.length - shown} more`;
  };
  more.addEventListener("click", add);
  filter.addEventListener("input", () => {
    const text = filter.value.toLowerCase();
    wanted = rows.filter((row) => row[1].toLowerCase().includes(text));
    shown = 0;
    table.replaceChildren();
    add();
  });
  filter.hidden = rows.length <= 20;
  add();
}

for (const section of document.querySelectorAll("details.stage"))
  if (section.querySelector("script"))
    section.addEventListener("toggle", () => show(section), { once: true });
