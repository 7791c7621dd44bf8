"use strict";
// What every page shares: its data, libraries that start when they are needed, buttons that copy.
const page = (() => {
  const started = {};

  /** Run a library that lies on the page as text, at its first use; returns what it defines. */
  function library(name) {
    if (!started[name]) {
      const script = document.createElement("script");
      script.textContent = document.getElementById("library-" + name).textContent;
      document.head.append(script);
      started[name] = true;
    }
    return name === "plotly" ? window.Plotly : window.$3Dmol;
  }

  /** The content of a JSON block, or null without one. */
  function data(id) {
    const block = document.getElementById(id);
    return block && JSON.parse(block.textContent);
  }

  /** An element with attributes and children; texts are never read as HTML. */
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  }

  /** A labelled select; `options` are pairs of value and text. */
  function choice(label, options, onchange) {
    const list = make("select", {}, ...options.map(([value, text]) => make("option", { value }, text)));
    list.addEventListener("change", () => onchange(list.value));
    return { list, box: make("label", { class: "choice" }, label + " ", list) };
  }

  /** Call `action` once, when the element comes near the visible part of the page. */
  function whenNear(element, action) {
    if (!("IntersectionObserver" in window)) return action();
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        observer.disconnect();
        action();
      }
    }, { rootMargin: "300px" });
    observer.observe(element);
  }

  const fixed = (value, decimals) =>
    value == null ? "–" : value.toFixed(decimals).replace(/^-(?=0(\.0*)?$)/, "").replace("-", "−");

  function copied(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = make("textarea", {});
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done ? Promise.resolve() : Promise.reject(new Error("not allowed"));
  }

  /** A button at each block of commands. */
  function copyButtons() {
    for (const block of document.querySelectorAll("pre")) {
      const button = make("button", { type: "button", class: "copy" }, "Copy");
      button.addEventListener("click", () => {
        const said = (text) => {
          button.textContent = text;
          setTimeout(() => { button.textContent = "Copy"; }, 2000);
        };
        copied(block.querySelector("code").textContent).then(() => said("Copied"), () => said("Select it by hand"));
      });
      const box = make("div", { class: "copyable" });
      block.replaceWith(box);
      box.append(block, button);
    }
  }

  document.documentElement.classList.add("scripted");
  document.addEventListener("DOMContentLoaded", copyButtons);
  return { library, data, make, choice, whenNear, fixed };
})();
