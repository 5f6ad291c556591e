"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const SIGNS = { right: "✓", wrong: "✗", unsure: "?" };
  const WORDS = { right: "right", wrong: "wrong", unsure: "cannot be decided" };
  const STORE = `audit-${data.audit_id}`;
  const known = new Set(data.reports.flatMap((report) => report.claims.map((claim) => claim.id)));

  /* Report text only ever becomes text. */
  function element(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "onclick") node.addEventListener("click", value);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  /* ---- answers: in this page, and in the browser's store where it has one ---- */
  let answers = new Map();
  let unsaved = 0;
  let kept = true;
  function usable(values) {
    return new Map(Object.entries(values || {}).filter(([id, said]) => known.has(id) && said in SIGNS));
  }
  function recall() {
    try {
      const stored = JSON.parse(localStorage.getItem(STORE) || "null");
      if (stored) answers = usable(stored.answers);
    } catch { kept = false; }
  }
  function keep() {
    try { localStorage.setItem(STORE, JSON.stringify({ answers: Object.fromEntries(answers) })); kept = true; } catch { kept = false; }
  }
  function file() {
    return JSON.stringify({
      format: data.format, audit_id: data.audit_id, size: data.size, seed: data.seed, answers: Object.fromEntries(answers),
    }, null, 1);
  }
  function save() {
    const address = URL.createObjectURL(new Blob([file()], { type: "application/json" }));
    const link = element("a", { href: address, download: "audit-answers.json" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    unsaved = 0;
    say(`${answers.size} answers saved as audit-answers.json`);
  }
  function load(text) {
    let value = null;
    try { value = JSON.parse(text); } catch { say("That is no file of answers."); return; }
    if (!value || value.format !== data.format) { say("That is no file of answers."); return; }
    if (value.audit_id !== data.audit_id) { say("Those answers belong to another audit."); return; }
    for (const [id, said] of usable(value.answers)) answers.set(id, said);
    keep();
    say(`${answers.size} answers loaded`);
    goToOpen();
  }
  function say(text) { $("saved").textContent = text; }

  /* ---- where we are ---- */
  let report = 0;
  let claim = 0;
  const here = () => data.reports[report];
  const isOpen = (one) => !answers.has(one.id);
  function openAfter(from) {
    for (let step = 0; step < data.reports.length; step += 1) {
      const index = (from + step) % data.reports.length;
      if (data.reports[index].claims.some(isOpen)) return index;
    }
    return -1;
  }
  function goToOpen() {
    const index = openAfter(report);
    if (index >= 0) { report = index; claim = Math.max(0, here().claims.findIndex(isOpen)); }
    draw("new report");
  }
  function advance() {
    const later = here().claims.findIndex((one, index) => index > claim && isOpen(one));
    const any = here().claims.findIndex(isOpen);
    if (later >= 0) claim = later;
    else if (any >= 0) claim = any;
    else { goToOpen(); return; }
    draw();
  }
  function answer(said) {
    if (!here()) return;
    answers.set(here().claims[claim].id, said);
    changed(1);
    advance();
  }
  function answerRest() {
    if (!here()) return;
    const rest = here().claims.filter(isOpen);
    for (const one of rest) answers.set(one.id, "right");
    changed(rest.length);
    goToOpen();
  }
  function changed(number) {
    unsaved += number;
    keep();
    say(kept ? "" : `${unsaved} answers not saved yet: this browser keeps nothing, use “Save answers”`);
  }
  function move(step) {
    const next = claim + step;
    if (next < 0 && report > 0) { report -= 1; claim = here().claims.length - 1; draw("new report"); return; }
    if (next >= here().claims.length && report < data.reports.length - 1) { report += 1; claim = 0; draw("new report"); return; }
    claim = Math.max(0, Math.min(here().claims.length - 1, next));
    draw();
  }
  function moveReport(step) {
    report = Math.max(0, Math.min(data.reports.length - 1, report + step));
    claim = Math.max(0, here().claims.findIndex(isOpen));
    draw("new report");
  }

  /* ---- what is shown ---- */
  function drawText(spans) {
    const box = element("div", {});
    const text = here().text;
    let end = 0;
    for (const [start, stop] of spans) {
      box.append(text.slice(end, start), element("mark", {}, text.slice(start, stop)));
      end = stop;
    }
    box.append(text.slice(end));
    $("text").replaceChildren(box);
  }
  function drawQuestion() {
    const one = here().claims[claim];
    const said = answers.get(one.id);
    const before = here().claims.slice(0, claim).filter((each) => each.field === "lesion").pop();
    const ofLesion = !["lesion", "negative", "missed"].includes(one.field) && before ? ` · ${before.value}` : "";
    const button = (kind, key, words) => element("button", { type: "button", class: kind, "aria-pressed": said === kind, onclick: () => answer(kind) }, `${SIGNS[kind]} ${words} `, element("kbd", {}, key));
    $("question").replaceChildren(
      element("p", { class: "about" }, data.labels[one.field] + ofLesion),
      element("p", { class: `value${one.value.length > 60 ? " long" : ""}` }, one.value),
      element("p", { class: "ask" }, one.question),
      element("div", { class: "buttons" }, button("right", "Y", "Right"), button("wrong", "N", "Wrong"), button("unsure", "U", "Unsure")),
    );
  }
  function drawClaims() {
    const items = here().claims.map((one, index) => {
      const said = answers.get(one.id);
      return element("li", {
        class: `${said || "open"}${one.field === "lesion" || one.field === "missed" ? " first" : ""}`, "aria-current": index === claim, onclick: () => { claim = index; draw(); },
        "aria-label": `${data.labels[one.field]}: ${one.value}${said ? `, ${WORDS[said]}` : ""}`,
      },
      element("span", { class: "sign", "aria-hidden": "true" }, said ? SIGNS[said] : "·"),
      element("span", { class: one.field === "lesion" || one.field === "missed" ? "lesion" : null }, element("span", { class: "label" }, data.labels[one.field]), element("span", { class: "value" }, one.value)));
    });
    $("claims").replaceChildren(...items);
    if (items[claim]) items[claim].scrollIntoView({ block: "nearest" });
  }
  function draw(what) {
    if (!here()) { $("question").replaceChildren(element("p", {}, "There is nothing to judge.")); return; }
    const one = here().claims[claim];
    const scroll = $("text").scrollTop;
    drawText(one.spans);
    $("text").scrollTop = what === "new report" ? 0 : scroll;
    const mark = $("text").querySelector("mark");
    if (mark) mark.scrollIntoView({ block: "nearest" });
    drawQuestion();
    drawClaims();
    const judged = data.reports.filter((each) => !each.claims.some(isOpen)).length;
    $("report-id").textContent = here().id;
    $("report-place").textContent = `report ${report + 1} of ${data.reports.length}`;
    $("report-kind").textContent = here().kind;
    $("progress-text").textContent = `${judged} of ${data.reports.length} reports done, ${answers.size.toLocaleString("en")} of ${known.size.toLocaleString("en")} answers`;
    $("progress").setAttribute("aria-valuemax", known.size);
    $("progress").setAttribute("aria-valuenow", answers.size);
    $("progress-bar").style.width = `${known.size ? (100 * answers.size) / known.size : 0}%`;
    $("done").hidden = answers.size < known.size;
  }

  /* ---- keys ---- */
  const ACTIONS = {
    y: () => answer("right"), n: () => answer("wrong"), u: () => answer("unsure"), a: answerRest,
    ArrowLeft: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => moveReport(-1), ArrowDown: () => moveReport(1),
    Delete: () => { answers.delete(here().claims[claim].id); changed(0); draw(); },
    Backspace: () => { answers.delete(here().claims[claim].id); changed(0); draw(); },
    "?": () => help(),
  };
  function help() {
    $("help").hidden = !$("help").hidden;
    $("help-button").setAttribute("aria-expanded", !$("help").hidden);
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !here()) return;
    const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.repeat && "ynua".includes(event.key.toLowerCase())) return;
    event.preventDefault();
    action();
  });
  $("save").addEventListener("click", save);
  $("load").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    const chosen = $("file").files[0];
    if (chosen) chosen.text().then(load, () => say("The file cannot be read."));
    $("file").value = "";
  });
  $("help-button").addEventListener("click", help);
  $("previous-report").addEventListener("click", () => moveReport(-1));
  $("next-report").addEventListener("click", () => moveReport(1));
  window.addEventListener("beforeunload", (event) => { if (!kept && unsaved) event.preventDefault(); });
  recall();
  if (answers.size) say(`${answers.size} answers of before are here again`);
  else help();
  goToOpen();
})();
