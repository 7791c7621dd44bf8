"use strict";
// Crystals in 3D, drawn by 3Dmol. A structure is {s: symbols, l: lattice or null, f: coordinates}.
const crystal = (() => {
  const NEAR_FACE = 0.02; // fractional: such a site is drawn on the opposite face as well

  /** Cartesian positions (angstrom) of fractional coordinates; of a molecule they are that already. */
  function cartesian(lattice, f) {
    if (!lattice) return f;
    return [0, 1, 2].map((k) => f[0] * lattice[k] + f[1] * lattice[3 + k] + f[2] * lattice[6 + k]);
  }

  /** The sites of one cell with those on its faces repeated: [symbol, [x, y, z]]. */
  function sites(structure) {
    const found = [];
    structure.s.forEach((symbol, i) => {
      const unit = structure.l ? 10000 : 1000;
      const f = [0, 1, 2].map((k) => structure.f[3 * i + k] / unit);
      if (!structure.l) return found.push([symbol, f]);
      const shifts = f.map((x) => (x < NEAR_FACE ? [0, 1] : x > 1 - NEAR_FACE ? [0, -1] : [0]));
      for (const a of shifts[0]) for (const b of shifts[1]) for (const c of shifts[2]) {
        found.push([symbol, cartesian(structure.l, [f[0] + a, f[1] + b, f[2] + c])]);
      }
    });
    return found;
  }

  /** The twelve edges of the cell, with its origin at `origin` (Cartesian). */
  function cell(viewer, lattice, origin) {
    if (!lattice) return;
    const corner = (f) => {
      const p = cartesian(lattice, f);
      return { x: p[0] + origin[0], y: p[1] + origin[1], z: p[2] + origin[2] };
    };
    for (let k = 0; k < 3; k++) {
      for (const a of [0, 1]) for (const b of [0, 1]) {
        const start = [a, b];
        start.splice(k, 0, 0);
        const end = [a, b];
        end.splice(k, 0, 1);
        viewer.addLine({ start: corner(start), end: corner(end), color: "#8a919c" });
      }
    }
  }

  /** A viewer in an element; raises an error where the browser has no WebGL. */
  function viewer(element) {
    const $3Dmol = page.library("3dmol");
    const made = $3Dmol.createViewer(element, { backgroundColor: "white", antialias: true });
    if (!made) throw new Error("This browser has no WebGL, which the 3D view needs.");
    // A page is scrolled with the wheel; who wants to zoom holds Ctrl or pinches.
    element.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) event.stopImmediatePropagation();
    }, { capture: true });
    return made;
  }

  /** Draw one structure in place of what the viewer shows. */
  function draw(made, structure) {
    const all = sites(structure);
    made.removeAllModels();
    made.removeAllShapes();
    made.removeAllLabels();
    const lines = all.map(([symbol, p]) => `${symbol} ${p.map((x) => x.toFixed(4)).join(" ")}`);
    made.addModel(`${all.length}\n\n${lines.join("\n")}\n`, "xyz");
    made.setStyle({}, { sphere: { scale: 0.28, colorscheme: "Jmol" }, stick: { radius: 0.09, colorscheme: "Jmol" } });
    cell(made, structure.l, [0, 0, 0]);
    made.setView([0, 0, 0, 0, 0, 0, 0, 1]); // else a viewer turns each further crystal on from the last
    made.zoomTo();
    made.zoom(0.8); // it fits the centres of the atoms: room for their radii
    made.rotate(20, "y");
    made.rotate(12, "x");
    made.render();
  }

  return { cartesian, sites, cell, viewer, draw };
})();
