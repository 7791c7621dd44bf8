"use strict";
// The frames of a crystal: for a chosen atom, block and head its neighbours' weights and its axes in 3D.
document.addEventListener("DOMContentLoaded", () => {
  const data = page.data("frames-data");
  const box = document.getElementById("frames-view");
  if (!data || !box) return;
  const { make, fixed } = page;
  const COLOURS = ["#d55e00", "#009e73", "#0072b2"];
  const NAMES = ["e₁", "e₂", "e₃"];
  const ARROWS = [3.2, 2.6, 2.0]; // angstrom: of tied frames one axis may lie along another
  const NEAR = 4.0; // angstrom: what fills the view at first
  const state = { atom: 0, block: data.first[0], head: data.first[1], frame: "all" };
  let viewer = null;

  const point = (v, scale = 1) => ({ x: v[0] * scale, y: v[1] * scale, z: v[2] * scale });
  const counted = (count, word) => Array.from({ length: count }, (_, k) => [k, `${word}${k + 1}`]);
  const alike = (one) => (one.copies > 1 ? `, ${one.copies} alike` : "");
  const atoms = data.atoms.map((one, k) => [k, `${one.symbol} (site ${one.atom + 1}${alike(one)})`]);

  const current = () => {
    const atom = data.atoms[state.atom];
    return { atom, weights: atom.weights[state.block][state.head], frames: atom.frames[state.block][state.head] };
  };

  /** The distinct axes of the chosen frames: [axis k, vector, share]. */
  function axes({ axes, tied }) {
    const chosen = state.frame === "all" ? tied : [tied[+state.frame]].filter(Boolean).map((one) => [...one.slice(0, 3), 1]);
    return [0, 1, 2].flatMap((k) => {
      const shares = new Map();
      for (const one of chosen) shares.set(one[k], (shares.get(one[k]) || 0) + one[3]);
      return [...shares].map(([place, share]) => [k, axes[k][place], share]).sort((a, b) => b[2] - a[2]);
    });
  }

  function draw() {
    const { atom, weights, frames } = current();
    const all = axes(frames);
    viewer.removeAllModels();
    viewer.removeAllShapes();
    viewer.removeAllLabels();
    const sites = [[atom.symbol, 0, 0, 0], ...atom.edges.filter(([, x, y, z]) => Math.hypot(x, y, z) > 0.001)];
    viewer.addModel(`${sites.length}\n\n${sites.map((one) => one.join(" ")).join("\n")}\n`, "xyz");
    viewer.setStyle({}, { sphere: { scale: 0.2, colorscheme: "Jmol" } });
    const others = weights.filter(([e]) => Math.hypot(...atom.edges[e].slice(1)) > 0.001);
    const largest = others.reduce((most, [, w]) => Math.max(most, w), 1);
    for (const [e, weight] of others) {
      const centre = point(atom.edges[e].slice(1));
      viewer.addSphere({ center: centre, radius: 0.9 * Math.cbrt(weight / largest), color: "#cc79a7", alpha: 0.45 });
      viewer.addCylinder({ start: point([0, 0, 0]), end: centre, radius: 0.02, color: "#cc79a7" });
    }
    for (const [k, vector, share] of all) {
      viewer.addArrow({ start: point([0, 0, 0]), end: point(vector, ARROWS[k]), radius: 0.05 + 0.07 * share, radiusRatio: 2.2, mid: 0.85, color: COLOURS[k] });
    }
    const labelled = new Set();
    for (const [k, vector] of all) {
      if (labelled.has(k)) continue;
      labelled.add(k);
      viewer.addLabel(NAMES[k], { position: point(vector, ARROWS[k] + 0.3), fontColor: COLOURS[k], fontSize: 15, backgroundOpacity: 0 });
    }
    crystal.cell(viewer, data.structure.l, origin(atom.atom).map((x) => -x));
    viewer.render();
    beside.replaceChildren(...numbers(atom, weights, all, frames.tied.length));
  }

  /** Where an atom lies in the cell, Cartesian. */
  function origin(i) {
    const unit = data.structure.l ? 10000 : 1000;
    return crystal.cartesian(data.structure.l, [0, 1, 2].map((k) => data.structure.f[3 * i + k] / unit));
  }

  const table = (caption, heads, rows) => make("div", { class: "scroll", tabindex: 0 }, make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...heads.map((text, k) => make("th", { scope: "col", class: k ? "n" : null }, text)))),
    make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((text, k) => make(k ? "td" : "th", { class: k ? "n" : null, scope: k ? null : "row" }, text)))))));

  function numbers(atom, weights, all, tied) {
    const sum = weights.reduce((total, [, w]) => total + w, 0) / 100;
    const rows = weights.slice(0, 12).map(([e, weight]) => {
      const [symbol, ...r] = atom.edges[e];
      const distance = Math.hypot(...r);
      return [distance > 0.001 ? symbol : "itself", fixed(distance, 3), `${fixed(weight / 100, 1)} %`];
    });
    const more = weights.length > rows.length ? ` (${rows.length} of ${weights.length} shown)` : "";
    const parts = [table(`Attention weights; those on the page add to ${fixed(sum, 1)} %${more}`, ["Neighbour", "Distance (Å)", "Weight"], rows)];
    if (all.length) {
      const some = all.slice(0, 18);
      const cut = all.length > some.length ? ` (${some.length} of ${all.length} axes shown)` : "";
      parts.push(table(tied > 1 ? `Axes of ${tied} tied frames${cut}` : "Axes", ["Axis", "Direction", "Share"],
        some.map(([k, v, share]) => [NAMES[k], v.map((x) => fixed(x, 3)).join(", "), `${fixed(100 * share, 1)} %`])));
    }
    return parts;
  }

  const view = box.querySelector(".view");
  const beside = box.querySelector(".beside");
  const frameList = page.choice("Frames", [], (value) => { state.frame = value; draw(); });
  function chosen(key) {
    return (value) => {
      state[key] = +value;
      tiedFrames();
      draw();
    };
  }
  function tiedFrames() {
    const { tied } = current().frames;
    state.frame = "all";
    const each = tied.map((one, k) => [k, `${k + 1} of ${tied.length}: share ${fixed(100 * one[3], 1)} %`]);
    const first = tied.length > 1 ? `all ${tied.length} tied` : tied.length ? "one, nothing ties" : "none";
    frameList.list.replaceChildren(...[["all", first], ...(tied.length > 1 ? each : [])].map(([value, text]) => make("option", { value }, text)));
  }
  const lists = [page.choice("Atom", atoms, chosen("atom")), page.choice("Block", counted(data.blocks, ""), chosen("block")), page.choice("Head", counted(data.heads, ""), chosen("head"))];
  lists[1].list.value = state.block;
  lists[2].list.value = state.head;
  const filters = box.querySelector(".filters");
  const framed = data.atoms.some((one) => one.frames[0][0].tied.length);
  filters.append(...lists.map((one) => one.box), ...(framed ? [frameList.box] : []));
  const axesLegend = [...NAMES.flatMap((name, k) => [make("b", { style: `color: ${COLOURS[k]}` }, name), " "]), "are the axes; thin ones have small shares."];
  const legend = make("p", { class: "quiet" }, "Pink: attention weight. ", ...(framed ? axesLegend : []));

  const start = () => {
    try {
      box.hidden = false;
      viewer = crystal.viewer(view);
      tiedFrames();
      draw();
      viewer.zoomTo({ predicate: (site) => Math.hypot(site.x, site.y, site.z) < NEAR });
      viewer.rotate(20, "y");
      viewer.rotate(12, "x");
      viewer.render();
      filters.append(legend);
      document.getElementById("frames-drawn").hidden = true;
    } catch (error) {
      view.remove();
      filters.replaceChildren(error.message);
    }
  };
  page.whenNear(document.getElementById("frames-drawn"), start);
});
