// Views of the layers and memories in the data block; the address says which, after "#memories?".
(() => {
  const block = document.getElementById("memory-data");
  if (!block) return;
  const { heads, models } = JSON.parse(block.textContent);
  const place = document.getElementById("memory-views");
  const ORDERS = {
    most: ["most active", (row) => row.rank],
    least: ["least active", (row) => -row.rank],
    moved: ["moved most over all stages", (row) => row.best - row.worst],
    rose: ["rose most since the stage before", (row) => row.change],
    fell: ["fell most since the stage before", (row) => -row.change],
  };
  let numRows = 25;

  const isThere = (value) => Number.isFinite(value);
  const hasStages = (model) => model.steps.length > 1;
  const hasTokens = (model) => model.layers.some((of) => Object.keys(of.tokens).length);
  const whole = (number) => (isThere(number) ? number.toLocaleString("en") : "–");

  function make(tag, attributes, ...children) {
    const space = ["svg", "path", "circle", "text"].includes(tag) ? "2000/svg" : "1999/xhtml";
    const made = document.createElementNS(`http://www.w3.org/${space}`, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function button(words, label, act) {
    const made = make("button", { class: "link", "aria-label": label }, words);
    made.addEventListener("click", act);
    return made;
  }

  const address = () => new URLSearchParams(location.hash.split("?")[1]);

  // What is asked for, completed: what a study lacks is passed over.
  function asked() {
    const said = Object.fromEntries(address());
    const model = models.find((each) => each.model === said.model) || models[0];
    const stage = model.steps.map(String).indexOf(said.step);
    const layer = model.layers[parseInt(said.layer)] ? parseInt(said.layer) : null;
    return {
      model, layer,
      stage: stage < 0 ? model.steps.length - 1 : stage,
      order: Object.hasOwn(ORDERS, said.order) ? said.order : "most",
      find: said.find || "",
      index: layer === null ? -1 : model.layers[layer].memories.map(String).indexOf(said.memory),
    };
  }

  function ask(changes) {
    const said = address();
    for (const [key, value] of Object.entries(changes)) value === "" ? said.delete(key) : said.set(key, value);
    history.replaceState(null, "", "#memories?" + said);
    show();
  }

  function memoryAt(model, layer, index, stage) {
    const of = model.layers[layer];
    const [memory, ranks] = [of.memories[index], of.ranks[index]];
    const trained = ranks.slice(model.untrained).filter(isThere);
    const told = of.tokens[memory] || {};
    const step = model.steps[stage];
    const toldAt = told[step] ? step : Object.keys(told).map(Number).sort((a, b) => a - b).at(-1);
    return {
      layer, memory, ranks, toldAt,
      rank: ranks[stage] ?? NaN,
      change: stage ? (ranks[stage] ?? NaN) - (ranks[stage - 1] ?? NaN) : NaN,
      best: Math.min(...trained),
      worst: Math.max(...trained),
      activity: of.activities[index][stage] ?? "–",
      tokens: told[toldAt] || [],
    };
  }

  // The memories that fit, in order; those without what they are ordered by come last.
  function found({ model, layer, stage, order, find }) {
    const words = find.trim().toLowerCase();
    const fits = (row) => !words || String(row.memory) === words || row.tokens.some((token) => token.toLowerCase().includes(words));
    const orLast = (key) => (isThere(key) ? key : Infinity);
    const key = (row) => orLast(ORDERS[order][1](row));
    return model.layers
      .flatMap((of, number) => (layer === null || layer === number ? of.memories.map((_, index) => memoryAt(model, number, index, stage)) : []))
      .filter(fits)
      .sort((one, other) => key(one) - key(other));
  }

  // Values over the stages, at equal distances, between what is drawn on top and at the bottom.
  function curve(values, [top, bottom], label, steps) {
    const [width, height, left, above] = steps ? [640, 170, 32, 30] : [96, 22, 3, 3];
    const x = (stage) => left + (values.length > 1 ? stage / (values.length - 1) : 0.5) * (width - 2 * left);
    const y = (value) => above + (top === bottom ? 0.5 : (value - top) / (bottom - top)) * (height - 2 * above);
    let line = "";
    const marks = [];
    values.forEach((value, stage) => {
      if (!isThere(value)) return;
      line += `${isThere(values[stage - 1]) ? "L" : "M"}${x(stage)} ${y(value)}`;
      if (steps) marks.push(make("circle", { cx: x(stage), cy: y(value), r: 3 }));
      if (!steps || stage % Math.ceil(steps.length / 8)) return;
      marks.push(make("text", { x: x(stage), y: y(value) - 9 }, value.toLocaleString("en")));
      marks.push(make("text", { x: x(stage), y: height - 4 }, whole(steps[stage])));
    });
    const kind = steps ? "curve wide" : "curve";
    return make("svg", { viewBox: `0 0 ${width} ${height}`, class: kind, role: "img", "aria-label": label }, make("path", { d: line }), ...marks);
  }

  function table(label, kind, heads, rows) {
    const cells = (tag, row) => row.map((cell) => make(tag, tag === "th" ? { scope: "col" } : {}, cell));
    const body = rows.map(([isChosen, ...row]) => make("tr", isChosen ? { class: "chosen" } : {}, ...cells("td", row)));
    return make("div", { class: "view", tabindex: 0, role: "region", "aria-label": label },
      make("table", { class: kind }, make("thead", {}, make("tr", {}, ...cells("th", heads))), make("tbody", {}, ...body)));
  }

  function layerTable({ model, layer, stage }) {
    const all = model.layers.flatMap((of) => of.entropies).filter(isThere);
    const scale = [Math.max(...all), Math.min(...all)];
    const rows = model.layers.map((of, number) => [
      number === layer,
      button(number, `layer ${number}`, () => ask({ layer: number, memory: "" })),
      ...of.told[stage],
      ...(hasStages(model) ? [curve(of.entropies, scale, `H of layer ${number} over the stages`)] : []),
    ]);
    return table("Layers", "", ["layer", ...heads, ...(hasStages(model) ? ["H over the stages"] : [])], rows);
  }

  function memoryTable({ model, layer, stage, index }, rows) {
    const at = (row) => (row.toldAt === undefined || row.toldAt === model.steps[stage] ? "" : ` (at step ${whole(row.toldAt)})`);
    const sign = (change) => (change < 0 ? "▲ " : change > 0 ? "▼ " : "");
    const columns = [
      ["layer", (row) => row.layer],
      ["memory", (row) => button(row.memory, `memory ${row.memory} of layer ${row.layer}`, () => ask({ layer: row.layer, memory: row.memory }))],
      ["rank", (row) => whole(row.rank)],
      ...(hasStages(model) ? [
        ["change", (row) => sign(row.change) + whole(Math.abs(row.change))],
        ["rank over the stages", (row) => curve(row.ranks, [1, model.num_memories], `Ranks ${row.ranks.join(", ")}`)],
        ["range", (row) => `${whole(row.best)} to ${whole(row.worst)}`],
      ] : []),
      ["activity", (row) => row.activity],
      ...(hasTokens(model) ? [["promotes", (row) => (row.tokens.join(" ") || "–") + at(row)]] : []),
    ];
    const isChosen = (row) => row.layer === layer && model.layers[layer].memories[index] === row.memory;
    return table("Memories", hasTokens(model) ? "memories" : "", columns.map(([head]) => head),
      rows.map((row) => [isChosen(row), ...columns.map(([, cell]) => cell(row))]));
  }

  // The course of the chosen memory, or of the chosen layer.
  function course({ model, layer, index }) {
    if (layer === null || !hasStages(model)) return "";
    const of = model.layers[layer];
    const values = index < 0 ? of.entropies : of.ranks[index];
    const there = values.filter(isThere);
    const ends = [Math.min(...there), Math.max(...there)];
    const words = index < 0 ? `Layer ${layer}: H in nats over the stages` : `Layer ${layer}, memory ${of.memories[index]}: rank over the stages`;
    return make("div", {}, make("h3", {}, words), curve(values, index < 0 ? ends.reverse() : ends, words, model.steps));
  }

  const controls = make("div", { class: "controls", role: "search" });
  const result = make("div", {});
  const inputs = {};
  for (const [key, words] of [["model", "Model"], ["step", "Stage, by step"], ["layer", "Layer"], ["order", "Order"], ["find", "Promoted token, or a memory’s number"]]) {
    const input = make(key === "find" ? "input" : "select", key === "find" ? { type: "search" } : {});
    input.addEventListener("input", () => {
      numRows = 25;
      ask({ [key]: input.value, ...(key === "model" ? { step: "", layer: "", memory: "" } : key === "layer" ? { memory: "" } : {}) });
    });
    inputs[key] = input;
    controls.append(make("label", {}, words, input));
  }
  place.append(controls, result);

  function show() {
    const now = asked();
    const { model, layer, stage, order, find } = now;
    const offer = (key, choices, chosen) => {
      inputs[key].replaceChildren(...choices.map(([value, words]) => make("option", { value }, words)));
      inputs[key].value = chosen;
    };
    offer("model", models.map((each) => [each.model, each.model]), model.model);
    offer("step", model.steps.map((step) => [step, whole(step)]), model.steps[stage]);
    offer("layer", [["", "all"], ...model.layers.map((_, number) => [number, number])], layer ?? "");
    offer("order", Object.entries(ORDERS).slice(0, hasStages(model) ? 5 : 2).map(([key, [words]]) => [key, words]), order);
    if (inputs.find.value !== find) inputs.find.value = find;
    const rows = found(now);
    const shown = rows.slice(0, numRows);
    const count = make("p", { class: "note", role: "status" }, `${whole(shown.length)} of ${whole(rows.length)} memories that fit, at step ${whole(model.steps[stage])}${hasStages(model) ? "; change is since the stage before" : ""}. `);
    if (shown.length < rows.length) count.append(button("Show more", "Show more memories", () => { numRows *= 4; show(); }));
    result.replaceChildren(layerTable(now), course(now), count, rows.length ? memoryTable(now, shown) : "");
  }

  const goThere = () => location.hash.startsWith("#memories?") && place.parentElement.scrollIntoView();
  addEventListener("hashchange", () => { show(); goThere(); });
  addEventListener("load", goThere);
  show();
})();
