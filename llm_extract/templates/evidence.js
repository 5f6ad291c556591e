"use strict";
(() => {
  const ROW = 52;
  const reports = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const words = (name) => String(name).replaceAll("_", " ");
  const STATUSES = ["ok", "ok_with_warnings", "needs_review", "failed"];
  const STATUS_WORDS = { ok: "ok", ok_with_warnings: "with warnings", needs_review: "needs review", failed: "failed" };
  const ORGAN_WORDS = {
    lesion_present: "lesion", explicitly_lesion_free: "stated free", indeterminate: "indeterminate",
    no_statement_on_lesions: "nothing on lesions", surgically_absent: "removed", not_mentioned: "not mentioned",
  };
  const ISSUE_WORDS = {
    duplicate_id: "this id stood in an earlier row", missing_id: "the row has no id", invalid_id: "the id is not usable",
    empty_report: "the report is empty", missing_text: "the row has no text", report_too_long: "the report is too long",
    undecodable_text: "the text could not be decoded", malformed_row: "the row is malformed",
    fallback_encoding: "not UTF-8, read as Windows-1252", extraction_error: "extraction failed",
    extraction_timeout: "extraction took too long", worker_crashed: "extraction ended its process",
    unused_measurement: "a measurement that nothing explains", ungrounded_quote: "a quote is not in the report",
  };

  /* Every element is built here, and report text only ever becomes text. */
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

  /* ---- what is shown ---- */
  const state = { query: "", statuses: new Set(), organ: "", organStatus: "", issue: "", source: "" };
  let shown = reports.map((_, index) => index);
  let chosen = -1;
  let currentGroup = -1;
  let addressTimer = 0;
  const haystacks = new Array(reports.length);

  function haystack(index) {
    if (haystacks[index] === undefined) {
      const report = reports[index];
      const lesions = report.lesions.map((lesion) => `${lesion.title} ${(lesion.parts || []).map(words).join(" ")} ${words(lesion.diagnosis || "")}`);
      haystacks[index] = [report.id, report.case_id || "", report.patient_id || "", ...lesions, report.text].join("\n").toLowerCase();
    }
    return haystacks[index];
  }
  const terms = () => state.query.toLowerCase().split(/\s+/).filter(Boolean);

  function organMatches(report) {
    const stated = (name) => (report.organs[name] && report.organs[name].status) || "not_mentioned";
    if (!state.organ) return !state.organStatus || Object.keys(report.organs).some((name) => stated(name) === state.organStatus);
    const status = stated(state.organ);
    return state.organStatus ? status === state.organStatus : status !== "not_mentioned" || report.lesions.some((lesion) => lesion.organ === state.organ);
  }
  function matches(index, wanted, skip) {
    const report = reports[index];
    return (skip === "status" || state.statuses.size === 0 || state.statuses.has(report.status))
      && (!state.source || report.source === state.source)
      && (!state.issue || report.issues.some((issue) => issue.code === state.issue))
      && organMatches(report)
      && wanted.every((term) => haystack(index).includes(term));
  }

  function update() {
    const wanted = terms();
    const keep = shown[chosen] === undefined ? null : shown[chosen];
    const counts = Object.fromEntries(STATUSES.map((status) => [status, 0]));
    shown = [];
    for (let index = 0; index < reports.length; index += 1) {
      if (!matches(index, wanted, "status")) continue;
      counts[reports[index].status] += 1;
      if (state.statuses.size === 0 || state.statuses.has(reports[index].status)) shown.push(index);
    }
    for (const chip of $("status-chips").children) chip.lastChild.textContent = `${STATUS_WORDS[chip.dataset.status]} ${counts[chip.dataset.status].toLocaleString("en")}`;
    $("shown").textContent = shown.length === reports.length ? `${reports.length.toLocaleString("en")} reports` : `${shown.length.toLocaleString("en")} of ${reports.length.toLocaleString("en")} reports`;
    const filtered = wanted.length || state.statuses.size || state.organ || state.organStatus || state.issue || state.source;
    $("clear").hidden = !filtered;
    $("list-inner").style.height = `${Math.max(shown.length * ROW, 1)}px`;
    const position = keep === null ? -1 : shown.indexOf(keep);
    drawList(true);
    choose(position >= 0 ? position : 0, "nearest", position >= 0);
  }

  /* ---- list: only the rows in view exist ---- */
  let drawn = new Map();
  function drawList(fresh) {
    const list = $("list");
    const inner = $("list-inner");
    if (fresh) { inner.replaceChildren(); drawn = new Map(); }
    if (shown.length === 0) { inner.replaceChildren(element("p", { class: "empty" }, "No report fits these filters.")); return; }
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 8);
    const last = Math.min(shown.length - 1, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 8);
    for (const [position, row] of drawn) if (position < first || position > last) { row.remove(); drawn.delete(position); }
    for (let position = first; position <= last; position += 1) {
      if (!drawn.has(position)) { const row = rowOf(position); drawn.set(position, row); inner.append(row); }
      drawn.get(position).setAttribute("aria-selected", position === chosen);
    }
  }
  function rowOf(position) {
    const report = reports[shown[position]];
    const row = element("div", {
      class: "row", role: "option", id: `row-${position}`, "aria-posinset": position + 1, "aria-setsize": shown.length,
      onclick: () => { choose(position, "nearest"); $("list").focus(); },
    },
    element("div", { class: "row-id" }, element("span", { class: `dot ${report.status}`, title: STATUS_WORDS[report.status] }), element("span", {}, report.id)),
    element("div", { class: "row-note" }, note(report)));
    row.style.transform = `translateY(${position * ROW}px)`;
    return row;
  }
  function note(report) {
    if (report.status === "failed") return report.issues.map((issue) => words(issue.code)).join(", ");
    if (report.lesions.length === 0) return "no lesion";
    const byOrgan = new Map();
    for (const lesion of report.lesions) byOrgan.set(lesion.organ, (byOrgan.get(lesion.organ) || 0) + 1);
    return [...byOrgan].map(([organ, count]) => (count > 1 ? `${words(organ)} ${count}` : words(organ))).join(" · ");
  }

  /* ---- one report ---- */
  function choose(position, scroll, sameReport) {
    if (shown.length === 0) {
      chosen = -1;
      $("text-head").replaceChildren(); $("text").replaceChildren(); $("record").replaceChildren(); $("legend").replaceChildren();
      return;
    }
    chosen = Math.max(0, Math.min(position, shown.length - 1));
    const list = $("list");
    const top = chosen * ROW;
    if (scroll && (top < list.scrollTop || top + ROW > list.scrollTop + list.clientHeight)) {
      list.scrollTop = top < list.scrollTop ? top - ROW : top + 2 * ROW - list.clientHeight;
    }
    list.setAttribute("aria-activedescendant", `row-${chosen}`);
    drawList(false);
    drawReport(reports[shown[chosen]], sameReport);
  }
  function drawReport(report, keepScroll) {
    const scrolls = [$("text").scrollTop, $("record").scrollTop];
    currentGroup = -1;
    const facts = [
      report.source, report.study_date,
      report.case_id && report.case_id !== report.id ? `CT ${report.case_id}` : null,
      report.patient_id ? `patient ${report.patient_id}` : null,
      `${report.text.length.toLocaleString("en")} characters`,
    ];
    $("text-head").replaceChildren(element("strong", {}, report.id), ...facts.filter(Boolean).map((fact) => element("span", {}, fact)));
    $("text").replaceChildren(textOf(report));
    drawLegend(report);
    drawRecord(report);
    $("text").scrollTop = keepScroll ? scrolls[0] : 0;
    $("record").scrollTop = keepScroll ? scrolls[1] : 0;
    showFound();
    clearTimeout(addressTimer); // browsers refuse many changes of the address in a row
    addressTimer = setTimeout(() => history.replaceState(null, "", `#${encodeURIComponent(report.id)}`), 150);
  }
  function labelOf(report, [kind, index, label]) {
    return kind === "lesion" ? `lesion ${index + 1}: ${report.lesions[index].title} · ${label}` : label;
  }
  function textOf(report) {
    const box = element("div", { class: "report-text" });
    if (!report.text) { box.append(element("p", { class: "note" }, "There is no text to show.")); return box; }
    let end = 0;
    let group = -1;
    let before = null;
    for (const [start, stop, marks, core] of report.segments) {
      const [kind, index] = report.marks[marks[0]];
      const look = `evidence evidence-${kind}${kind === "lesion" ? ` c${index % 8}` : ""}${core ? " core" : ""}`;
      if (start > end) box.append(report.text.slice(end, start));
      const refs = marks.map((mark) => `${report.marks[mark][0]}-${report.marks[mark][1]}`);
      if (start > end || refs[0] !== before) group += 1;
      before = refs[0];
      box.append(element("mark", {
        class: look, "data-refs": [...new Set(refs)].join(" "), "data-group": group,
        title: [...new Set(marks.map((mark) => labelOf(report, report.marks[mark])))].join("\n"),
        onclick: (event) => goToGroup(Number(event.currentTarget.dataset.group)),
      }, report.text.slice(start, stop)));
      end = stop;
    }
    box.append(report.text.slice(end));
    if (report.cut) box.append(element("p", { class: "note" }, `${report.cut.toLocaleString("en")} more characters are not shown.`));
    return box;
  }
  function drawLegend(report) {
    const kinds = new Set(report.marks.map((mark) => mark[0]));
    const names = { lesion: "lesion (a colour each)", free: "organ stated free", organ: "other organ statement", sign: "sign", surgery: "surgery", technique: "technique", unused: "measurement of no lesion" };
    $("legend").replaceChildren(...Object.keys(names).filter((kind) => kinds.has(kind)).map((kind) => element("span", { class: "report-text swatch" },
      element("mark", { class: `evidence evidence-${kind}${kind === "lesion" ? " c0" : ""}` }, names[kind]))));
  }

  /* ---- record ---- */
  function pairs(list) {
    const rows = list.filter(([, value]) => value !== null && value !== undefined && value !== "");
    return element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
  }
  function millimetres(values) { return values && values.length ? `${values.join(" × ")} mm` : null; }
  function lesionCard(lesion, index) {
    const parts = (lesion.parts || []).map(words).join(", ");
    const relation = lesion.part_relation && !["within", "unknown"].includes(lesion.part_relation) ? ` (${words(lesion.part_relation)})` : "";
    const kind = lesion.count_kind === "multiple_unknown" ? "several, number not stated" : lesion.count_kind ? `${words(lesion.count_kind)} ${lesion.count === undefined ? 1 : lesion.count}` : lesion.count;
    const card = element("div", { class: `card c${index % 8}`, tabindex: 0, "data-ref": `lesion-${index}` },
      element("h3", {}, `${index + 1}. ${lesion.title}`),
      pairs([
        ["part", parts ? parts + relation : null],
        ["place as written", lesion.location_text],
        ["size", lesion.size ? `${lesion.size}${lesion.size_kind && lesion.size_kind !== "exact" ? ` (${words(lesion.size_kind)})` : ""}` : "not stated"],
        ["before", millimetres(lesion.prior_diameters_mm)],
        ["number", kind],
        ["group", lesion.group_id ? `${lesion.group_id}, ${words(lesion.group_role || "individual")}` : null],
        ["attenuation", lesion.attenuation], ["enhancement", lesion.enhancement],
        ["Hounsfield units", lesion.hounsfield],
        ["presence", lesion.presence],
        ["malignancy", lesion.malignancy ? lesion.malignancy + (lesion.malignancy_basis ? ` (${words(lesion.malignancy_basis)})` : "") : null],
        ["diagnosis", lesion.diagnosis_text || (lesion.diagnosis ? words(lesion.diagnosis) : null)],
        ["change", lesion.change],
        ["volume", lesion.reported_volume_mm3 ? `${lesion.reported_volume_mm3.toLocaleString("en")} mm³` : null],
        ["series / image", lesion.series || lesion.image ? `${lesion.series || "–"} / ${lesion.image || "–"}` : null],
        ["score", (lesion.score || []).map((score) => `${score.system} ${score.value}`).join(", ")],
        ["treated", lesion.treated ? "yes" : null],
        ["conflict", (lesion.conflict || []).map(words).join(", ")],
      ]));
    return linked(card, `lesion-${index}`);
  }
  function linked(node, ref) {
    const go = () => toMark(ref);
    node.addEventListener("click", go);
    node.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.stopPropagation(); go(); } });
    node.addEventListener("mouseenter", () => emphasise(ref));
    node.addEventListener("mouseleave", () => emphasise(null));
    return node;
  }
  function organTable(report) {
    const body = element("tbody", {});
    report.organ_order.forEach((name) => {
      const statement = report.organs[name];
      const mark = report.marks.find((one) => (one[0] === "organ" || one[0] === "free") && one[2].startsWith(`${words(name)}:`));
      const ref = mark && `${mark[0]}-${mark[1]}`;
      const sides = Object.entries(statement.sides || {}).map(([side, said]) => `${side}: ${ORGAN_WORDS[said.status || "not_mentioned"]}`);
      const notes = [...sides, statement.scope ? words(statement.scope) : null, statement.limited ? "limited examination" : null].filter(Boolean).join("; ");
      const row = element("tr", { "data-mark": ref },
        element("td", {}, words(name)),
        element("td", {}, element("span", { class: `tag ${statement.status}` }, ORGAN_WORDS[statement.status]), notes ? element("p", { class: "note" }, notes) : null));
      body.append(ref ? linked(row, ref) : row);
    });
    return element("table", { class: "organs" }, body);
  }
  function drawRecord(report) {
    const box = $("record");
    box.className = `pane record-pane ${report.status}`;
    const parts = [];
    const section = (title, ...content) => parts.push(element("h2", {}, title), ...content);
    section("Status", element("p", { class: "row-id" }, element("span", { class: `dot ${report.status}` }), element("span", {}, STATUS_WORDS[report.status])));
    if (report.issues.length) {
      parts.push(element("ul", { class: "issues" }, ...report.issues.map((issue) => element("li", {}, (ISSUE_WORDS[issue.code] || words(issue.code)) + (issue.text ? `: “${issue.text}”` : "") + (issue.field ? ` · ${words(issue.field)}` : "")))));
    }
    if (report.status !== "failed") {
      section(report.lesions.length === 1 ? "1 lesion" : `${report.lesions.length} lesions`, ...report.lesions.map(lesionCard));
      if (!report.lesions.length) parts.push(element("p", { class: "note" }, "The record states no lesion."));
    }
    if (report.organ_order.length) {
      section("Organs", organTable(report), element("p", { class: "note" }, `${report.n_organs - report.organ_order.length} organs are not mentioned.`));
    }
    const list = (kind, items, describe) => element("ul", { class: "plain" }, ...items.map((item, index) => linked(element("li", { "data-mark": `${kind}-${index}` }, describe(item)), `${kind}-${index}`)));
    if (report.signs.length) section("Signs", list("sign", report.signs, (sign) => `${words(sign.sign)}, ${words(sign.organ)}${sign.value_mm ? `, ${sign.value_mm} mm` : ""}`));
    if (report.surgery.length) section("Surgery", list("surgery", report.surgery, (item) => `${item.procedure} (${words(item.organ)}${item.extent ? `, ${item.extent}` : ""})`));
    if (report.unused.length) section("Measurements of no lesion", list("unused", report.unused, (unused) => `${unused.text}: ${words(unused.reason)}`));
    const technique = report.technique;
    if (Object.keys(technique).length) {
      section("Technique", pairs([["modality", technique.modality], ["phase", technique.phase && words(technique.phase)], ["regions", (technique.body_regions || []).map(words).join(", ")], ["limited", technique.limited ? "yes" : null]]));
    }
    section("Made by", element("p", { class: "note" }, report.backend));
    box.replaceChildren(...parts);
  }

  /* ---- links between text and record ---- */
  const marks = () => [...$("text").querySelectorAll("mark")];
  function emphasise(ref) {
    const box = $("text").firstChild;
    if (!box || !box.classList) return;
    let any = false;
    for (const mark of marks()) {
      const on = ref !== null && mark.dataset.refs.split(" ").includes(ref);
      mark.classList.toggle("linked", on);
      any = any || on;
    }
    box.classList.toggle("dim-others", any);
  }
  /* Neighbouring marks of one thing are one stop: a group. */
  function goToGroup(group) {
    const all = marks();
    if (!all.length) return;
    const count = Number(all[all.length - 1].dataset.group) + 1;
    currentGroup = (group + count) % count;
    const here = all.filter((mark) => Number(mark.dataset.group) === currentGroup);
    all.forEach((mark) => mark.classList.toggle("current", here.includes(mark)));
    here[0].scrollIntoView({ block: "center" });
    const refs = here[0].dataset.refs.split(" ");
    for (const node of $("record").querySelectorAll("[data-ref], [data-mark]")) {
      const on = refs[0] === (node.dataset.ref || node.dataset.mark);
      node.classList.toggle("linked", on);
      if (on) node.scrollIntoView({ block: "nearest" });
    }
  }
  function toMark(ref) {
    const all = marks();
    const mark = all.find((one) => one.dataset.refs.split(" ")[0] === ref) || all.find((one) => one.dataset.refs.split(" ").includes(ref));
    if (mark) goToGroup(Number(mark.dataset.group));
  }

  /* ---- search hits in the text, where the browser can mark them without touching it ---- */
  function showFound() {
    if (!window.CSS || !CSS.highlights || !window.Highlight) return;
    CSS.highlights.delete("found");
    const wanted = terms().filter((term) => term.length > 1);
    if (!wanted.length) return;
    const ranges = [];
    const walker = document.createTreeWalker($("text"), NodeFilter.SHOW_TEXT);
    while (walker.nextNode() && ranges.length < 2000) {
      const text = walker.currentNode.data.toLowerCase();
      if (text.length !== walker.currentNode.data.length) continue;
      for (const term of wanted) {
        for (let at = text.indexOf(term); at >= 0; at = text.indexOf(term, at + term.length)) {
          const range = new Range();
          range.setStart(walker.currentNode, at);
          range.setEnd(walker.currentNode, at + term.length);
          ranges.push(range);
        }
      }
    }
    if (!ranges.length) return;
    CSS.highlights.set("found", new Highlight(...ranges));
    const box = $("text").getBoundingClientRect();
    const hit = ranges[0].getBoundingClientRect();
    if (hit.top > box.bottom || hit.bottom < box.top) $("text").scrollTop += hit.top - box.top - box.height / 3;
  }

  /* ---- filters ---- */
  function tally(values) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    return [...counts].sort((left, right) => right[1] - left[1] || (left[0] < right[0] ? -1 : 1));
  }
  function fill(id, all, options) {
    $(id).replaceChildren(element("option", { value: "" }, all), ...options.map(([value, label]) => element("option", { value }, label)));
  }
  function build() {
    const named = (pairsOf) => pairsOf.map(([value, count]) => [value, `${words(value)} (${count.toLocaleString("en")})`]);
    fill("organ", "any", named(tally(reports.flatMap((report) => [...new Set([...report.organ_order, ...report.lesions.map((lesion) => lesion.organ)])]))));
    fill("organ-status", "mentioned at all", Object.entries(ORGAN_WORDS).filter(([status]) => status !== "not_mentioned"));
    fill("issue", "any or none", named(tally(reports.flatMap((report) => [...new Set(report.issues.map((issue) => issue.code))]))));
    fill("source", "any", named(tally(reports.map((report) => report.source))));
    for (const status of STATUSES) {
      $("status-chips").append(element("button", {
        type: "button", class: "chip", "aria-pressed": "false", "data-status": status,
        onclick: (event) => {
          const on = !state.statuses.delete(status);
          if (on) state.statuses.add(status);
          event.currentTarget.setAttribute("aria-pressed", on);
          update();
        },
      }, element("span", { class: `dot ${status}` }), document.createTextNode("")));
    }
    const lesions = reports.reduce((sum, report) => sum + report.lesions.length, 0);
    const withLesions = reports.filter((report) => report.lesions.length).length;
    $("totals").textContent = `${lesions.toLocaleString("en")} lesions in ${withLesions.toLocaleString("en")} reports`;
    let timer = 0;
    $("search").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => { state.query = $("search").value; update(); }, 90);
    });
    for (const [id, key] of [["organ", "organ"], ["organ-status", "organStatus"], ["issue", "issue"], ["source", "source"]]) {
      $(id).addEventListener("change", () => { state[key] = $(id).value; update(); });
    }
    $("clear").addEventListener("click", clear);
    $("help-button").addEventListener("click", help);
    $("list").addEventListener("scroll", () => drawList(false), { passive: true });
    window.addEventListener("resize", () => drawList(false));
    document.addEventListener("keydown", keys);
  }
  function clear() {
    Object.assign(state, { query: "", organ: "", organStatus: "", issue: "", source: "" });
    state.statuses.clear();
    for (const id of ["search", "organ", "organ-status", "issue", "source"]) $(id).value = "";
    for (const chip of $("status-chips").children) chip.setAttribute("aria-pressed", "false");
    update();
  }
  function help() {
    $("help").hidden = !$("help").hidden;
    $("help-button").setAttribute("aria-expanded", !$("help").hidden);
    drawList(false);
  }
  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key === "Escape") {
      if (typing) { event.target.blur(); $("list").focus(); } else clear();
      return;
    }
    if (typing) {
      if (event.target.id === "search" && event.key === "Enter") { event.target.blur(); $("list").focus(); }
      return;
    }
    const page = Math.max(1, Math.floor($("list").clientHeight / ROW) - 1);
    const inList = !$("text").contains(document.activeElement) && !$("record").contains(document.activeElement);
    const moves = { j: 1, k: -1 };
    if (inList) Object.assign(moves, { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity });
    if (event.key in moves) { event.preventDefault(); choose(chosen + moves[event.key], "nearest"); }
    else if (event.key === "n") goToGroup(currentGroup + 1);
    else if (event.key === "p") goToGroup(currentGroup < 0 ? -1 : currentGroup - 1);
    else if (event.key === "/") { event.preventDefault(); $("search").focus(); $("search").select(); }
    else if (event.key === "?") help();
  }

  function follow(hash) {
    let asked = "";
    try { asked = decodeURIComponent(hash.slice(1)); } catch { return; }
    const index = reports.findIndex((report) => report.id === asked);
    if (index < 0 || shown[chosen] === index) return;
    if (!shown.includes(index)) clear();
    choose(shown.indexOf(index), "nearest");
  }

  build();
  const asked = location.hash;
  update();
  follow(asked);
  window.addEventListener("hashchange", () => follow(location.hash));
  $("list").focus({ preventScroll: true });
})();
