// Sorts and copies the tables of the page; without it they are read as they stand.
(() => {
  "use strict";

  const LATEX = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "␣": "\\textvisiblespace{}", "…": "\\dots{}", "–": "--",
    "−": "$-$", "·": "$\\cdot$", "×": "$\\times$", "|": "$|$", "<": "$<$", ">": "$>$", "‖": "$\\|$", "²": "$^2$",
    "Δ": "$\\Delta$", "∇": "$\\nabla$", "∂": "$\\partial$", "β": "$\\beta$", "γ": "$\\gamma$", "θ": "$\\theta$",
    "τ": "$\\tau$", "σ": "$\\sigma$", "⚠": "(!)", "\u00a0": "~",
  };

  const isNumber = (head) => head.classList.contains("number");
  const headsOf = (table) => [...table.tHead.rows[0].cells];
  const textsOf = (table) =>
    [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim().replace(/\s*\n\s*/g, " ")));

  function markdown(table) {
    const [head, ...rows] = textsOf(table).map((texts) => texts.map((text) => text.replace(/[\\|*<`]/g, "\\$&")));
    const rule = headsOf(table).map((each) => (isNumber(each) ? "--:" : "---"));
    return [head, rule, ...rows].map((texts) => `| ${texts.join(" | ")} |\n`).join("");
  }

  function latex(table) {
    const [head, ...rows] = textsOf(table)
      .map((texts) => texts.map((text) => text.replace(/./gu, (sign) => LATEX[sign] ?? sign)).join(" & "))
      .map((line) => `${line.replace(/^\[/, "{[}")} \\\\`); // after \\ a bracket would be a length
    const kinds = headsOf(table).map((each) => (isNumber(each) ? "r" : "l")).join("");
    const lines = ["% \\usepackage{booktabs}", `\\begin{tabular}{${kinds}}`, "\\toprule", head, "\\midrule", ...rows];
    return [...lines, "\\bottomrule", "\\end{tabular}", ""].join("\n");
  }

  function button(label, press) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = label;
    made.addEventListener("click", press);
    return made;
  }

  // Buttons that belong together are one stop of the Tab key; arrows lead from one to the next.
  function share(buttons) {
    buttons.forEach((each, at) => {
      each.tabIndex = at ? -1 : 0;
      each.addEventListener("focus", () => buttons.forEach((other) => (other.tabIndex = other === each ? 0 : -1)));
      each.addEventListener("keydown", (event) => {
        const next = buttons[at + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? NaN)];
        if (next) {
          event.preventDefault();
          next.focus();
        }
      });
    });
  }

  const keyOf = ({ dataset, textContent }) => ("number" in dataset ? parseFloat(dataset.number) : textContent.trim());
  const isMissing = (key) => Number.isNaN(key) || key === "" || key === "–";
  const compare = (one, other) =>
    typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });

  // Ascending, then descending, then as it was; what is missing is last in both orders.
  function makeSortable(table) {
    const body = table.tBodies[0];
    const asWritten = [...body.rows];
    const heads = headsOf(table);
    const sortBy = (at) => {
      const order = { ascending: "descending", descending: null }[heads[at].ariaSort];
      const now = order === undefined ? "ascending" : order;
      heads.forEach((head) => (head.ariaSort = null));
      heads[at].ariaSort = now;
      const keyed = asWritten.map((row) => ({ row, key: keyOf(row.cells[at]) }));
      const known = keyed.filter(({ key }) => !isMissing(key));
      const sign = now === "descending" ? -1 : 1;
      known.sort((one, other) => sign * compare(one.key, other.key));
      const sorted = [...known, ...keyed.filter(({ key }) => isMissing(key))].map(({ row }) => row);
      body.append(...(now ? sorted : asWritten));
    };
    const buttons = heads.map((head, at) => button(head.textContent, () => sortBy(at)));
    heads.forEach((head, at) => head.replaceChildren(buttons[at]));
    share(buttons);
  }

  function makeCopyable(table) {
    const place = table.parentElement;
    let line = place.nextElementSibling;
    if (!line?.matches("p.download")) {
      line = document.createElement("p");
      line.className = "download";
      place.after(line);
    }
    const said = document.createElement("span");
    said.role = "status";
    const copy = async (write) => {
      const text = write(table);
      try {
        await navigator.clipboard.writeText(text);
        said.textContent = "copied";
      } catch {
        const box = document.createElement("textarea");
        box.readOnly = true;
        box.value = text;
        said.replaceChildren("The browser allows no copy from here; take it from this box:", box);
        box.select();
      }
    };
    const buttons = [button("copy as Markdown", () => copy(markdown)), button("copy as LaTeX", () => copy(latex))];
    share(buttons);
    line.append(...buttons, said);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length > 1) makeSortable(table);
    makeCopyable(table);
  }
})();
