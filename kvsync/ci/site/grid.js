"use strict";
// Draws the grid from the numbers in the page. Everything that people named is set as text, never as markup.
(() => {
  const STEP = 150;
  const grid = JSON.parse(document.getElementById("grid-data").textContent);
  const table = document.getElementById("grid");
  const more = document.getElementById("more");
  const count = document.getElementById("count");
  const asked = ["scope", "stage", "state", "text"].map((name) => document.getElementById(name));
  const [scope, stage, state, text] = asked;

  const element = (name, className, content) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (content) made.textContent = content;
    return made;
  };
  const failed = (cells) => [...cells].some((cell) => grid.failing.includes(cell));
  const changes = (cells) => {
    const sides = cells.map((cell) => (grid.failing.includes(cell) ? "F" : "PX".includes(cell) ? "P" : ""));
    return sides.filter(Boolean).filter((side, at, all) => at && side !== all[at - 1]).length;
  };
  const STATES = {
    "": () => true,
    failing: (cells) => grid.failing.includes(cells[0]),
    failed,
    flaky: (cells) => cells.includes("~") || changes(cells) > 1,
    quarantined: (cells) => cells.includes("Q"),
    undecided: (cells) => cells.some((cell) => "SNV?I".includes(cell)),
  };

  let shown = [], rows = [], drawn = 0, body;

  function choose() {
    const columns = grid.runs.map((run, at) => at);
    shown = scope.value === "" ? columns : columns.filter((at) => grid.runs[at].scope === Number(scope.value));
    const wanted = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows = grid.rows.filter(([, ofStage, name, cells]) => {
      if (stage.value !== "" && ofStage !== Number(stage.value)) return false;
      const lower = name.toLowerCase();
      if (!wanted.every((word) => lower.includes(word))) return false;
      const ran = shown.map((at) => cells[at]).filter((cell) => cell !== " ");
      return ran.length > 0 && STATES[state.value](ran);
    });
    draw();
  }

  function head() {
    const made = element("thead"), row = made.appendChild(element("tr"));
    row.append(element("th", "name", "test"));
    for (const at of shown) {
      const run = grid.runs[at], cell = row.appendChild(element("th", run.verdict));
      const label = element(run.link ? "a" : "span", "", `${run.at.slice(5, 10)} ${run.commit}`);
      if (run.link) label.href = run.link;
      label.title = [run.run, run.at, run.of, grid.scopes[run.scope], `${run.verdict}: ${run.reason}`].join("\n");
      cell.append(label);
    }
    return made;
  }

  function line([repository, ofStage, name, cells]) {
    const row = element("tr"), title = row.appendChild(element("th", "name"));
    const [file, test] = name.includes("::") ? [name.slice(0, name.indexOf("::")), name.slice(name.indexOf("::") + 2)] : ["", name];
    const parts = [grid.repositories.length > 1 ? grid.repositories[repository] : "", grid.stages[ofStage], file];
    title.title = name;
    title.append(element("span", "", test), element("small", "", parts.filter(Boolean).join(" · ")));
    for (const at of shown) {
      const letter = cells[at], [kind, tone] = grid.kinds[letter] || ["", "absent"];
      const cell = row.appendChild(element("td", tone, letter === "P" ? "" : letter.trim()));
      if (kind) cell.title = `${kind} in ${grid.runs[at].run}`;
    }
    return row;
  }

  function extend() {
    body.append(...rows.slice(drawn, drawn + STEP).map(line));
    drawn = Math.min(rows.length, drawn + STEP);
    count.textContent = `${drawn} of ${rows.length} tests, ${shown.length} runs, the newest on the left`;
    more.hidden = drawn >= rows.length;
  }

  function draw() {
    body = element("tbody");
    drawn = 0;
    table.replaceChildren(head(), body);
    extend();
  }

  for (const [select, names] of [[scope, grid.scopes], [stage, grid.stages]]) {
    names.forEach((name, at) => select.append(new Option(name, at)));
  }
  asked.forEach((each) => each.addEventListener("input", choose));
  more.addEventListener("click", extend);
  choose();
})();
