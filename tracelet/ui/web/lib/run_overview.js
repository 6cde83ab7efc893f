// The first tab of a run: status and why, metrics, parameters, code, environment, and how to run it again.
import { code, h, put } from "tracelet-web/dom.js";
import { date, duration, number, size, value } from "tracelet-web/format.js";
import { goalButton } from "tracelet-web/goals.js";
import { badge, facts, patch, table } from "tracelet-web/widgets.js";

export function overview(run, again) {
  return h("div", { class: "tl-columned" }, failure(run), h("div", { class: "tl-masonry" }, summary(run), metrics(run, again), parameters(run), sources(run), surroundings(run.environment, run.version), problems(run)));
}

const card = (title, ...parts) => h("section", { class: "tl-card" }, h("h2", {}, title), ...parts);

function failure(run) {
  if (!run.traceback) return null;
  const box = h("pre", { class: "tl-log", tabindex: "0" }, run.traceback);
  requestAnimationFrame(() => (box.scrollTop = box.scrollHeight)); // the end of a traceback tells the most
  return h("section", { class: "tl-card tl-failed-card" }, h("h2", {}, run.reason || "Failed"), box);
}

function summary(run) {
  const best = run.artifacts.filter((artifact) => artifact.metadata?.best && !artifact.removed).at(-1);
  return card("Summary", facts([["Status", h("span", {}, badge(run), run.reason ? ` ${run.reason}` : "")], ["Run", run.id], ["Original name", run.original_name !== run.name ? run.original_name : null], ["Project", run.project],
    ["Started", date(run.started)], ["Ended", run.ended ? date(run.ended) : "still running"], ["Duration", duration((run.ended ?? Date.now() / 1000) - run.started)], ["Host", run.host], ["Ranks", run.world_size > 1 ? run.world_size : null],
    ["Resumed from", run.resumed_from && h("a", { href: "/run/" + encodeURIComponent(run.resumed_from) }, run.resumed_from)], ["Best checkpoint", best && `${best.name} (${best.metadata.monitor ?? "score"} ${number(best.metadata.score)})`]]));
}

function metrics(run, again) {
  const own = Object.entries(run.metrics).filter(([, found]) => !found.automatic);
  const at = (found, step) => [number(found), h("small", { title: `at step ${step}` }, ` @${number(step)}`)];
  const marked = (cell, found, goal) => (found.goal === goal ? h("b", { class: "tl-best" }, cell) : cell);
  const rows = own.map(([name, found]) => [h("span", {}, name, " ", goalButton(name, found.goal, [run.id], run.read_only, again)), number(found.last), marked(at(found.min, found.min_step), found, "min"), marked(at(found.max, found.max_step), found, "max")]);
  return card("Metrics", rows.length ? table(["Metric", "Last", "Min", "Max"], rows, { label: "Metrics" }) : h("p", {}, "No metrics were logged. To log one: ", h("code", {}, "tracelet.log({\"loss\": loss})")));
}

function parameters(run) {
  const rows = Object.entries(run.params).sort(([a], [b]) => a.split("/").length - b.split("/").length || a.localeCompare(b)).map(([name, found]) => [name, value(found)]);
  return card("Parameters", rows.length ? table(["Name", "Value"], rows, { label: "Parameters" }) : h("p", {}, "No parameters were logged."));
}

function sources(run) {
  const git = run.git, untracked = git.untracked_count ? `${number(git.untracked_count)} untracked ${git.untracked_count === 1 ? "file" : "files"}` : "";
  const unknown = (git.incomplete ?? []).includes?.("diff");
  const tree = [unknown ? "unknown: git could not compare it with the commit" : git.dirty ? "uncommitted changes" : "clean", untracked].filter(Boolean).join(", ");
  const remotes = Object.entries(git.remotes ?? {}).map(([name, address]) => [`Remote ${name}`, address]);
  return card("Code", facts([["Commit", git.commit && h("span", { title: git.commit }, git.commit.slice(0, 12))], ["Branch", git.branch], ["Subject", git.subject], ["Working tree", git.commit && tree], ["Folder", run.folder], ...remotes]),
    !git.commit && h("p", {}, "The run did not start in a git repository."), h("h3", {}, "Reproduce"), code(reproduce(run)), run.has_diff && changes(run));
}

function changes(run) {
  const body = h("div", {});
  return h("details", { ontoggle: async (event) => {
    if (!event.target.open || body.hasChildNodes()) return;
    const answer = await fetch(`/api/runs/${encodeURIComponent(run.id)}/diff`);
    put(body, patch(await answer.text()));
  } }, h("summary", {}, "Uncommitted changes"), body);
}

function surroundings(environment, version) {
  const { python = {}, platform = {}, machine = {}, torch = {} } = environment;
  const listed = (...parts) => parts.filter((part) => part !== undefined && part !== null && part !== "" && part !== false).join(", ");
  const packages = Object.entries(environment.packages ?? {});
  return card("Environment", facts([["Python", listed(python.version, python.implementation !== "CPython" && python.implementation, python.free_threaded && "free-threaded", python.prefix)],
    ["Platform", listed(platform.distribution, platform.system && `${platform.system} ${platform.release ?? ""}`, platform.architecture)],
    ["Machine", listed(machine.cpu_model, machine.cpu_count && `${machine.cpu_count} CPUs`, machine.cpu_usable < machine.cpu_count && `${machine.cpu_usable} of them usable`, machine.memory_bytes && `${size(machine.memory_bytes)} of memory`)],
    ["PyTorch", listed(torch.version, torch.cuda && `CUDA ${text(torch.cuda)}`, torch.cudnn && `cuDNN ${text(torch.cudnn)}`)], ["tracelet", version]]),
    packages.length > 0 && h("details", {}, h("summary", {}, `${packages.length} packages`), table(["Package", "Version"], packages.map(([name, found]) => [name, value(found)]), { label: "Packages" })));
}

const problems = (run) => (run.problems.length ? card("Recording problems", h("ul", { class: "tl-list" }, run.problems.slice(0, 50).map((problem) => h("li", {}, problem)))) : null);
const text = (found) => (found && typeof found === "object" ? Object.values(found).filter((one) => typeof one !== "object").join(" ") : String(found));

function reproduce(run) {
  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  const lines = [`cd ${quoted(run.folder || ".")}`];
  if (run.git.commit) lines.push(`git checkout ${quoted(run.git.commit)}`);
  if (run.has_diff) lines.push(`curl -o ${run.id}.patch ${location.origin}/api/runs/${run.id}/diff`, `git apply ${run.id}.patch`);
  return [...lines, run.command.map(quoted).join(" ")].join("\n");
}
