// The list of all runs: a grid that draws only the rows in sight, a filter, groups, and what people do to runs.
import * as AgGrid from "nicegui-aggrid";
import { change, get, query, remove, view } from "tracelet-web/api.js";
import { button, choice, code, dialog, empty, h, put, notify } from "tracelet-web/dom.js";
import { ago, date, duration, number, value } from "tracelet-web/format.js";
import { onKey } from "tracelet-web/keyboard.js";
import { badge, rename, retag, tagged } from "tracelet-web/widgets.js";

AgGrid.ModuleRegistry.registerModules([AgGrid.AllCommunityModule]);

const THEME = AgGrid.themeQuartz.withParams({
  backgroundColor: "var(--tl-surface)", foregroundColor: "var(--tl-text)", headerBackgroundColor: "var(--tl-surface)", borderColor: "var(--tl-line)",
  headerTextColor: "var(--tl-muted)", rowHoverColor: "var(--tl-hover)", selectedRowBackgroundColor: "var(--tl-selected)", accentColor: "var(--tl-accent)",
  fontFamily: "inherit", fontSize: 13, headerFontSize: 12, rowBorder: { color: "var(--tl-line)" }, wrapperBorder: false, wrapperBorderRadius: 0, spacing: 6, browserColorScheme: "inherit",
});
const WHICH = ["last", "min", "max"];

class Runs {
  constructor(box, page) {
    this.box = box;
    this.page = page;
    this.mark = 0;
  }

  async start() {
    this.about = await get("columns");
    const asked = view.all("col");
    this.columns = asked.length ? asked : [...this.about.own_metrics.map((name) => "m:" + name), ...this.about.own_params.map((name) => "p:" + name)];
    this.grid = h("div", { class: "tl-grid" });
    this.note = h("div", { class: "tl-count", role: "status" });
    this.actions = h("div", { class: "tl-selection" });
    put(this.box, h("div", { class: "tl-title" }, h("h1", {}, "Runs"), this.note), this.bar(), this.grid);
    this.keys();
    await this.load();
    this.page.watch(["*"]);
    this.clock = setInterval(() => this.api?.refreshCells({ columns: ["started", "duration", "status"], force: true }), 5000);
  }

  bar() {
    this.search = h("input", { type: "search", "data-search": true, class: "tl-filter", value: view.get("filter"), "aria-label": "Filter runs",
      placeholder: "Words, status:failed, tag:vision, lr < 0.01, val/loss < 0.5  ( / )", list: "tl-suggestions", oninput: () => this.typed(), onkeydown: (event) => event.key === "Enter" && (this.search.blur(), this.typed(0)) });
    const suggestions = [...["running", "finished", "failed", "killed"].map((status) => `status:${status}`), ...this.about.tags.map((name) => `tag:${name}`), ...this.about.projects.map((name) => `project:${name}`),
      ...this.about.own_metrics.map((name) => `${name} < `), ...this.about.own_params.map((name) => `${name} == `)];
    this.suggestions = h("datalist", { id: "tl-suggestions" }, suggestions.map((value) => h("option", { value })));
    this.error = h("div", { class: "tl-error", role: "alert" });
    const keys = [["", "None"], ["project", "Project"], ["status", "Status"], ...this.about.tags.map((name) => ["t:" + name, `Tag ${name}`]), ...this.about.own_params.map((name) => ["p:" + name, name])];
    return h("div", {}, h("div", { class: "tl-bar" }, this.search, this.suggestions,
      choice("Group by", keys, view.get("group"), (group) => (view.set({ group }), this.load())),
      button("Columns", () => this.choose()), (this.hidden = h("span", { class: "tl-field" })), this.actions), this.error);
  }

  typed(pause = 300) {
    clearTimeout(this.wait);
    this.wait = setTimeout(() => (view.set({ filter: this.search.value.trim() }), this.load()), pause);
  }

  async load() {
    const text = view.get("filter");
    const names = (kinds) => [...new Set([...this.columns, view.get("group")].filter((column) => kinds.includes(column.slice(0, 2))).map((column) => column.slice(2)))];
    try {
      this.found = await get("runs", { filter: text, metric: names(["m:", "l:", "g:"]), param: names(["p:"]), git: this.columns.includes("git"), archived: view.get("archived") === "1" });
      put(this.error);
    } catch (error) {
      put(this.error, error.message);
      this.error.classList.toggle("tl-typing", document.activeElement === this.search); // help, until it is meant
      this.box.dataset.ready = "yes";
      return;
    }
    const rows = this.found.runs;
    put(this.note, rows.length === this.found.total ? `${this.found.total.toLocaleString("en-US")}` : `${rows.length.toLocaleString("en-US")} of ${this.found.total.toLocaleString("en-US")}`);
    const archived = view.get("archived") === "1";
    put(this.hidden, (this.found.archived > 0 || archived) && button(archived ? "Hide archived" : `Show ${this.found.archived} archived`, () => (view.set({ archived: archived ? "" : "1" }), this.load())));
    this.draw(rows);
    this.box.dataset.ready = "yes";
  }

  draw(rows) {
    if (!this.found.total && !this.found.archived) {
      put(this.box, h("h1", { class: "tl-hidden" }, "Runs"), empty("No runs yet", `Nothing has been recorded in ${this.found.store}.`, "To record a demo run, type in a terminal:", code("tracelet demo"), "To record your own training:", code("tracelet run train.py")));
      this.api?.destroy();
      this.api = undefined;
      return;
    }
    if (!this.grid.isConnected) return location.reload();
    const data = [...rows.filter((row) => row.pinned), ...rows.filter((row) => !row.pinned)];
    const group = view.get("group");
    for (const row of data) row.group = group ? this.group(row, group) : "";
    const heads = group ? [...new Set(data.map((row) => row.group))].map((title) => ({ id: "group " + title, group: title, head: true, count: data.filter((row) => row.group === title).length })) : [];
    if (!this.api) this.api = AgGrid.createGrid(this.grid, this.options());
    this.api.setGridOption("columnDefs", this.definitions());
    this.api.setGridOption("rowData", [...heads, ...data]);
  }

  group(row, key) {
    if (key.startsWith("t:")) return row.tags[key.slice(2)] === undefined ? `no ${key.slice(2)}` : `${key.slice(2)}: ${row.tags[key.slice(2)]}`;
    return key.startsWith("p:") ? `${key.slice(2)} = ${value(row.params[key.slice(2)])}` : row[key];
  }

  options() {
    return {
      theme: THEME, rowData: [], columnDefs: [], getRowId: (found) => found.data.id, rowHeight: 40, headerHeight: 38, animateRows: false,
      rowSelection: { mode: "multiRow", checkboxes: (found) => !found.data?.head, isRowSelectable: (node) => !node.data?.head, enableClickSelection: false, headerCheckbox: true },
      selectionColumnDef: { width: 46, pinned: "left", resizable: false },
      isFullWidthRow: (found) => Boolean(found.rowNode.data?.head),
      fullWidthCellRenderer: (found) => h("div", { class: "tl-group", role: "gridcell" }, h("b", {}, found.data.group), h("span", {}, `${found.data.count} ${found.data.count === 1 ? "run" : "runs"}`)),
      postSortRows: ({ nodes }) => view.get("group") && grouped(nodes),
      onSelectionChanged: () => this.selected(), onRowDoubleClicked: (event) => event.data.head || this.open(event.data.id), enableCellTextSelection: true,
      onSortChanged: () => view.set({ sort: this.api.getColumnState().filter((column) => column.sort).map((column) => `${column.colId} ${column.sort}`) }),
      overlayNoRowsTemplate: "<span>No runs match. Change the filter.</span>", suppressDragLeaveHidesColumns: true, defaultColDef: { sortable: true, resizable: true, suppressMovable: false, minWidth: 70 },
    };
  }

  definitions() {
    const sorts = Object.fromEntries(view.all("sort").map((text) => text.match(/^(.*) (asc|desc)$/)?.slice(1) ?? ["", ""]));
    const cell = (make) => (found) => (found.data && !found.data.head ? make(found.data) : "");
    const column = (colId, headerName, get, rest = {}) => ({ colId, headerName, sort: sorts[colId] ?? null, valueGetter: (found) => (found.data?.head ? null : get(found.data)), ...rest });
    const numeric = { type: "rightAligned", width: 120, comparator: ordered };
    const chosen = this.columns.filter((name) => name[1] === ":").map((name) => {
      const title = name.slice(2);
      if (name.startsWith("p:")) return column(name, title, (run) => run.params[title], { width: 110, comparator: ordered, valueFormatter: (found) => value(found.value), headerTooltip: `parameter ${title}` });
      const place = { "m:": 0, "l:": 1, "g:": 2 }[name.slice(0, 2)];
      return column(name, (place ? WHICH[place] + " " : "") + title, (run) => run.metrics[title]?.[place], { ...numeric, headerTooltip: `${["last value", "minimum", "maximum"][place]} of ${title}`, valueFormatter: (found) => number(found.value),
        tooltipValueGetter: (found) => found.data?.metrics?.[title] && `last ${number(found.data.metrics[title][0])}, min ${number(found.data.metrics[title][1])}, max ${number(found.data.metrics[title][2])}` });
    });
    const git = this.columns.includes("git") ? [column("git", "Commit", (run) => (run.git?.commit ?? "").slice(0, 8) + (run.git?.dirty ? " +" : ""), { width: 120 })] : [];
    return [
      column("name", "Name", (run) => run.name, { width: 230, pinned: innerWidth > 700 ? "left" : null, cellRenderer: cell((run) => h("span", { class: "tl-name" },
        !this.found.read_only && h("button", { type: "button", class: "tl-pin", "aria-pressed": String(run.pinned), "aria-label": `Pin ${run.name}`, onclick: () => this.pin(run) }, run.pinned ? "★" : "☆"),
        h("a", { href: "/run/" + encodeURIComponent(run.id), title: `${run.name} (${run.id})` }, run.name))) }),
      column("status", "Status", (run) => run.status, { width: 125, cellRenderer: cell((run) => badge(run)) }),
      column("project", "Project", (run) => run.project, { width: 130 }),
      column("started", "Started", (run) => run.started, { width: 130, valueFormatter: (found) => (found.value ? ago(found.value) : ""), tooltipValueGetter: (found) => date(found.value) }),
      column("duration", "Duration", (run) => (run.ended ?? Date.now() / 1000) - run.started, { width: 105, type: "rightAligned", valueFormatter: (found) => (found.value === null ? "" : duration(found.value)) }),
      ...chosen, ...git,
      column("tags", "Tags", (run) => Object.entries(run.tags).map((pair) => pair.join("=")).join(", "), { minWidth: 160, flex: 1, cellRenderer: cell((run) => tagged(run.tags)) }),
    ];
  }

  chosen() {
    return this.api?.getSelectedRows() ?? [];
  }

  selected() {
    const rows = this.chosen(), ids = rows.map((row) => row.id);
    const one = rows.length === 1 && !this.found.read_only;
    put(this.actions, rows.length > 1 && button(`Compare ${rows.length}`, () => this.compare(), { class: "tl-button tl-primary" }),
      one && button("Rename", () => rename(rows[0], () => this.load())), rows.length > 0 && !this.found.read_only && button("Tags", () => retag(rows, () => this.load())),
      rows.length > 0 && !this.found.read_only && button(rows.every((row) => row.archived) ? "Unarchive" : "Archive", () => this.archive(rows)),
      rows.length > 0 && !this.found.read_only && button("Delete", () => this.remove(ids), { class: "tl-button tl-danger" }));
  }

  compare() {
    location.assign("/compare" + query({ run: this.chosen().map((row) => row.id) }));
  }

  open(id) {
    location.assign("/run/" + encodeURIComponent(id));
  }

  async pin(run) {
    await change(run.id, { pinned: !run.pinned }).catch((error) => notify(error.message));
    this.load();
  }

  async archive(rows) {
    const archived = !rows.every((row) => row.archived);
    for (const row of rows) await change(row.id, { archived }).catch((error) => notify(error.message));
    this.load();
  }

  remove(ids) {
    const all = async (close) => {
      for (const id of ids) await remove(id).catch((error) => notify(error.message));
      close();
      this.load();
    };
    const names = this.chosen().map((row) => h("li", {}, `${row.name} (${row.id})`));
    dialog(ids.length === 1 ? "Delete this run?" : `Delete these ${ids.length} runs?`, [h("p", {}, "This deletes all files of the selected runs. It cannot be undone."), h("ul", {}, names.slice(0, 20))],
      (close) => [button("Cancel", close, { autofocus: true }), button("Delete", () => all(close), { class: "tl-button tl-danger" })]);
  }

  choose() {
    const box = (id, title, label) => h("label", { class: "tl-check" }, h("input", { type: "checkbox", value: id, checked: this.columns.includes(id), "aria-label": label }), title);
    const metric = (name) => h("div", { class: "tl-pick", "data-name": name.toLowerCase() }, h("span", {}, name), ["m:", "l:", "g:"].map((kind, place) => box(kind + name, WHICH[place], `${WHICH[place]} ${name}`)));
    const param = (name) => h("div", { class: "tl-pick", "data-name": name.toLowerCase() }, box("p:" + name, name, name));
    const list = (title, rows) => h("fieldset", {}, h("legend", {}, title), rows);
    const shown = new Set(this.columns.map((id) => id.slice(2))), rank = (name) => (shown.has(name) ? 0 : /^(system|gpu)\//.test(name) ? 2 : 1);
    const metrics = [...this.about.metrics].sort((one, other) => rank(one) - rank(other)); // the machine's last
    const body = h("div", { class: "tl-picks" }, list("Metrics", metrics.slice(0, 400).map(metric)), list("Parameters", this.about.params.slice(0, 400).map(param)), list("Code", [box("git", "Commit", "Commit")]));
    const search = h("input", { type: "text", class: "tl-wide", placeholder: "Search", "aria-label": "Search columns", autofocus: true, oninput: () => {
      for (const row of body.querySelectorAll(".tl-pick")) row.hidden = !row.dataset.name.includes(search.value.toLowerCase());
    } });
    const save = (close) => {
      this.columns = [...body.querySelectorAll("input:checked")].map((input) => input.value);
      view.set({ col: this.columns.length ? this.columns : "none" });
      close();
      this.load();
    };
    dialog("Columns", [search, body], (close) => [button("Cancel", close), button("Apply", () => save(close), { class: "tl-button tl-primary" })]);
  }

  keys() {
    const row = () => this.api?.getDisplayedRowAtIndex(this.mark);
    const move = (by) => {
      if (!this.api) return;
      const last = this.api.getDisplayedRowCount() - 1;
      this.mark = Math.max(0, Math.min(last, this.api.getFocusedCell() ? this.mark + by : 0));
      this.api.ensureIndexVisible(this.mark);
      this.api.setFocusedCell(this.mark, "name");
    };
    onKey("j", () => move(1));
    onKey("k", () => move(-1));
    onKey("Enter", () => row()?.data && !row().data.head && this.open(row().data.id));
    onKey("x", () => row()?.setSelected(!row().isSelected()));
    onKey("c", () => this.chosen().length > 1 && this.compare());
  }

  changed() {
    this.load();
  }

  stop() {
    clearInterval(this.clock);
    this.api?.destroy();
  }
}

// Numbers before texts, and what is missing last, up or down.
function ordered(left, right, _a, _b, inverted) {
  const none = (found) => found === null || found === undefined;
  if (none(left) || none(right)) return none(left) && none(right) ? 0 : (none(left) ? 1 : -1) * (inverted ? -1 : 1);
  if (typeof left === typeof right) return left < right ? -1 : left > right ? 1 : 0;
  return typeof left === "number" ? -1 : 1;
}

// Keeps the order within each group, its head first; groups stand in the order of their best row.
function grouped(nodes) {
  const groups = new Map();
  for (const node of nodes) if (!node.data.head) groups.set(node.data.group, [...(groups.get(node.data.group) ?? []), node]);
  const heads = new Map(nodes.filter((node) => node.data.head).map((node) => [node.data.group, node]));
  nodes.splice(0, nodes.length, ...[...groups].flatMap(([title, rows]) => [heads.get(title), ...rows].filter(Boolean)));
}

export async function start(box, page) {
  const runs = new Runs(box, page);
  await runs.start();
  return runs;
}
