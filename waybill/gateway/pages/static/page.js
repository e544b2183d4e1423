// What the page does with script: dropped files, what a screen reader hears of a run, and links to copy. Without it, all
// forms work; progress is then shown after a reload.
"use strict";

function showChosen(form) {
  const input = form.querySelector("input[type=file]");
  const names = Array.from(input.files, (file) => file.name);
  const shown = form.querySelector("[data-chosen]");
  shown.textContent = names.length === 0 ? "" : names.length === 1 ? `Chosen: ${names[0]}`
    : `${names.length} files chosen: ${names.slice(0, 5).join(", ")}${names.length > 5 ? " and more" : ""}`;
}

function acceptDrops(form) {
  const input = form.querySelector("input[type=file]");
  let depth = 0;
  const mark = (isOver) => form.classList.toggle("over", isOver);
  form.addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; mark(true); });
  form.addEventListener("dragover", (event) => { event.preventDefault(); event.dataTransfer.dropEffect = "copy"; });
  form.addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) mark(false); });
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    mark(false);
    if (event.dataTransfer.files.length > 0) {
      input.files = event.dataTransfer.files;
      showChosen(form);
    }
  });
  input.addEventListener("change", () => showChosen(form));
  form.addEventListener("submit", () => {
    form.querySelector("[data-chosen]").textContent = "Sending the files. The page of the run opens when they are stored.";
    form.querySelector("button").disabled = true;
  });
  // The browser's back button shows the page as it was left.
  window.addEventListener("pageshow", () => { form.querySelector("button").disabled = false; });
}

function copyOnClick(button) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Press Ctrl-C to copy";
    }
  });
}

// A screen reader hears of a run when its state or its stage changes, and not every two seconds.
function announce() {
  const part = document.querySelector("[data-announce]");
  const announcer = document.getElementById("announcer");
  if (part && announcer && announcer.textContent !== part.dataset.announce) announcer.textContent = part.dataset.announce;
}
document.addEventListener("htmx:afterSettle", announce);

// A file that is dropped next to the form must not replace the page.
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
document.querySelectorAll("[data-drop]").forEach(acceptDrops);
document.querySelectorAll("[data-copy]").forEach(copyOnClick);
