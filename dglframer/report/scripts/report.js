"use strict";
// The report: interactive plots in place of the drawn ones, filters, and the panel of one crystal.
document.addEventListener("DOMContentLoaded", () => {
  const data = page.data("report-data");
  if (!data) return;
  const { crystals, targets } = data;
  const { make, fixed } = page;
  const COLOURS = { train: "#a3a9b4", val: "#d55e00", test: "#0072b2" };
  const MARKS = { train: "circle", val: "triangle-up", test: "circle" };
  const SIZES = { train: 5, val: 7, test: 7 };
  const state = { element: "", splits: { train: true, val: true, test: true } };
  const redraws = [];
  const byId = new Map(crystals.id.map((id, i) => [id, i]));
  const elements = crystals.elements.map((text) => new Set(text.split(" ")));
  const shown = (i) => state.splits[crystals.split[i]] && (!state.element || elements[i].has(state.element));
  const redraw = () => redraws.forEach((one) => one());

  // The panel of one crystal: numbers, nearest training crystals, and its structure in 3D.
  const panel = document.getElementById("crystal-panel");
  const home = panel.parentElement;
  let view = null;
  function nearestOf(i) {
    const near = data.nearest[i];
    if (!near) return [];
    const items = near.map(([id, formula, distance]) => {
      const there = byId.has(id);
      const name = there ? make("button", { type: "button", class: "link", onclick: () => show(byId.get(id), panel.parentElement) }, id) : id;
      const labels = there ? targets.map((t) => t.target[byId.get(id)] == null ? "" : `, ${t.name} ${fixed(t.target[byId.get(id)], t.decimals)} ${t.unit}`) : [];
      return make("li", {}, name, ` ${formula}, distance ${fixed(distance, 1)}`, ...labels);
    });
    return [make("p", {}, "Nearest training crystals in the model's own space (1 is a usual distance):"), make("ul", {}, ...items)];
  }
  function show(i, place = home) {
    place.append(panel);
    const known = targets.filter((t) => t.target[i] != null);
    const head = ["", ...known.map((t) => (t.unit ? `${t.name} (${t.unit})` : t.name))].map((text, k) => make("th", { scope: "col", class: k ? "n" : null }, text));
    const numbers = {
      target: (t) => fixed(t.target[i], t.decimals),
      prediction: (t) => fixed(t.prediction[i], t.decimals),
      error: (t) => fixed(t.prediction[i] - t.target[i], t.decimals),
      "90 % interval": (t) => (t.low[i] == null ? "–" : `${fixed(t.low[i], t.decimals)} to ${fixed(t.high[i], t.decimals)}`),
    };
    const rows = Object.entries(numbers).map(([name, of]) => make("tr", {}, make("th", { scope: "row" }, name), ...known.map((t) => make("td", { class: "n" }, of(t)))));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
    const words = panel.querySelector(".words");
    words.replaceChildren(
      make("h3", {}, `${crystals.id[i]} `, make("small", {}, `${crystals.formula[i]}, ${crystals.split[i]}, ${crystals.atoms[i]} atoms`)),
      make("div", { class: "scroll", tabindex: 0 }, table),
      ...nearestOf(i),
    );
    panel.hidden = false;
    const box = panel.querySelector(".view");
    const structure = data.structures[crystals.id[i]];
    box.hidden = !structure;
    if (structure) {
      try {
        view = view || crystal.viewer(box);
        crystal.draw(view, structure);
        view.resize();
      } catch (error) {
        box.textContent = error.message;
      }
    } else {
      words.append(make("p", { class: "quiet" }, "The page has no room for this structure; the id finds it in crystals.parquet."));
    }
    panel.scrollIntoView({ block: "nearest" });
  }

  // Plots.
  const layout = (x, y, equal) => ({
    margin: { l: 58, r: 10, t: 32, b: 80 },
    font: { family: "system-ui, sans-serif", size: 12, color: "#2b2f36" },
    paper_bgcolor: "#ffffff",
    plot_bgcolor: "#ffffff",
    xaxis: { title: { text: x }, gridcolor: "#e8eaee", zeroline: false },
    yaxis: { title: { text: y }, gridcolor: "#e8eaee", zeroline: false, ...(equal ? { scaleanchor: "x" } : {}) },
    hovermode: "closest",
    showlegend: true,
    legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top", font: { size: 11 } },
  });
  const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const named = (name, unit) => (unit ? `${name} (${unit})` : name);

  const AXES = {
    target: (t, i) => t.target[i],
    prediction: (t, i) => t.prediction[i],
    atoms: (t, i) => crystals.atoms[i],
    "number of elements": (t, i) => elements[i].size,
    "width of the 90 % interval": (t, i) => (t.low[i] == null ? null : t.high[i] - t.low[i]),
  };

  /** For plotly, which reads some tags in texts. */
  const plainText = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

  /** The points of one target by split: x and y are functions of a crystal's place. */
  function traces(t, x, y) {
    return Object.keys(COLOURS).map((split) => {
      const places = [];
      for (let i = 0; i < crystals.points; i++) {
        if (crystals.split[i] === split && shown(i) && t.target[i] != null) places.push(i);
      }
      return {
        type: "scatter", mode: "markers", name: `${split} (${places.length})`,
        x: places.map(x), y: places.map(y),
        customdata: places.map((i) => [i, plainText(crystals.id[i]), crystals.formula[i], fixed(t.target[i], t.decimals), fixed(t.prediction[i], t.decimals)]),
        hovertemplate: "<b>%{customdata[1]}</b><br>%{customdata[2]}<br>target %{customdata[3]}<br>prediction %{customdata[4]}<extra></extra>",
        marker: { color: COLOURS[split], symbol: MARKS[split], size: SIZES[split], opacity: split === "train" ? 0.6 : 0.85 },
      };
    });
  }

  function replaced(figure, draw) {
    const card = figure.querySelector(".card");
    const plot = make("div", { class: "plot" });
    page.whenNear(card, () => {
      const Plotly = page.library("plotly");
      card.replaceChildren(plot);
      const update = () => {
        const [lines, shape] = draw();
        return Plotly.react(plot, lines, shape, CONFIG);
      };
      update().then(() => plot.on("plotly_click", (event) => {
        const point = event.points.find((one) => one.customdata);
        if (point) show(point.customdata[0]);
      }));
      redraws.push(update);
    });
  }

  targets.forEach((t, k) => {
    const unit = t.unit;
    const parity = document.getElementById(`figure-parity${k + 1}`);
    const errors = document.getElementById(`figure-error${k + 1}`);
    const all = t.target.slice(0, crystals.points).concat(t.prediction.slice(0, crystals.points)).filter((v) => v != null);
    const ends = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
    replaced(parity, () => [
      [{ type: "scatter", mode: "lines", x: ends, y: ends, line: { color: "#2b2f36", width: 1 }, hoverinfo: "skip", showlegend: false },
        ...traces(t, (i) => t.target[i], (i) => t.prediction[i])],
      layout(named("target", unit), named("prediction", unit), true),
    ]);
    parity.querySelector("figcaption").textContent = "On the line prediction and target are equal.";
    let axis = "target";
    replaced(errors, () => [
      traces(t, (i) => AXES[axis](t, i), (i) => t.prediction[i] - t.target[i]),
      layout(axis === "target" || axis === "prediction" ? named(axis, unit) : axis, named("prediction − target", unit), false),
    ]);
    const against = page.choice("Errors against", Object.keys(AXES).map((name) => [name, name]), (value) => { axis = value; redraw(); });
    errors.querySelector("figcaption").replaceChildren(against.box);
  });

  // Filters, above the plots.
  const filters = document.getElementById("filters");
  const every = [...new Set(elements.slice(0, crystals.points).flatMap((set) => [...set]))].sort();
  const element = page.choice("Element", [["", "all"], ...every.map((name) => [name, name])], (value) => { state.element = value; redraw(); });
  const boxes = Object.keys(COLOURS).map((split) => {
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => { state.splits[split] = box.checked; redraw(); });
    return make("label", { class: "choice" }, box, " " + split);
  });
  const list = make("datalist", { id: "crystal-names" }, ...crystals.id.slice(0, 2000).map((id) => make("option", { value: id })));
  const search = make("input", { type: "search", list: "crystal-names", placeholder: "id or formula", "aria-label": "Find a crystal by id or formula" });
  const plain = (text) => text.replace(/[₀-₉]/g, (digit) => String("₀₁₂₃₄₅₆₇₈₉".indexOf(digit)));
  search.addEventListener("change", () => {
    const wanted = search.value.trim();
    const found = byId.has(wanted) ? byId.get(wanted) : crystals.formula.findIndex((text) => plain(text) === wanted);
    if (wanted && found >= 0) show(found);
    search.setCustomValidity(wanted && found < 0 ? "no such crystal on this page" : "");
    search.reportValidity();
  });
  filters.append(element.box, ...boxes, make("label", { class: "choice" }, "Find ", search), list);
  filters.hidden = false;

  // The periodic table sets the filter; ids in tables lead to their crystal.
  for (const box of document.querySelectorAll("#trust [data-element]")) {
    if (!every.includes(box.dataset.element)) continue;
    box.setAttribute("role", "button");
    box.setAttribute("tabindex", "0");
    const choose = () => {
      element.list.value = state.element = box.dataset.element;
      redraw();
      filters.scrollIntoView({ block: "start" });
    };
    box.addEventListener("click", choose);
    box.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } });
  }

  // The worst predictions: a picture of each, from one hidden viewer; a click shows the crystal above.
  const cards = document.querySelectorAll("[data-crystal]");
  let camera = null;
  function picture(card) {
    const structure = data.structures[card.dataset.crystal];
    if (!structure) return;
    try {
      if (!camera) {
        const dark = make("div", { class: "camera", "aria-hidden": "true" });
        document.body.append(dark);
        camera = crystal.viewer(dark);
      }
      crystal.draw(camera, structure);
      const image = make("img", { alt: `The structure of ${card.dataset.crystal}`, src: camera.pngURI() });
      card.querySelector(".picture").replaceChildren(image);
    } catch (error) {
      card.querySelector(".picture").textContent = error.message;
    }
  }
  for (const card of cards) {
    const i = byId.get(card.dataset.crystal);
    page.whenNear(card, () => picture(card));
    if (i === undefined) continue;
    const open = make("button", { type: "button", class: "link" }, "Turn it in 3D");
    open.addEventListener("click", () => show(i, card));
    card.querySelector(".open").append(open);
    card.querySelector(".picture").addEventListener("click", () => open.click());
  }

  // Optuna's own figures.
  for (const [name, figure] of Object.entries(data.tuning || {})) {
    const box = document.getElementById(`figure-tuning-${name}`);
    if (!box) continue;
    const card = box.querySelector(".card");
    page.whenNear(card, () => {
      const plot = make("div", { class: "plot" });
      card.replaceChildren(plot);
      page.library("plotly").newPlot(plot, figure.data, figure.layout, CONFIG);
    });
  }
});
