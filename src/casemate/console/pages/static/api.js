// Calls of the JSON API. The session is a cookie that no script can read; `csrf` goes with each change.

export const state = { csrf: document.body.dataset.csrf ?? "" };

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? "The server did not answer as it should: try again.");
    this.status = status;
    this.code = problem.code ?? "";
  }
}

export async function ask(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (state.csrf && method !== "GET") headers["X-CSRF-Token"] = state.csrf;
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
    });
  } catch {
    throw new Refused(0, { detail: "The server cannot be reached: try again." });
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said);
  if (said.csrf) state.csrf = said.csrf;
  return said;
}

// What a person is told; one line, read out by screen readers.
export function tell(text, { bad = true, at = "status" } = {}) {
  const line = document.getElementById(at);
  line.textContent = text;
  line.classList.toggle("bad", bad);
  line.classList.toggle("good", !bad);
  line.hidden = text === "";
}

// Runs what a button or form begins, once at a time, and tells what went wrong.
export async function busy(control, act, at = "status") {
  const buttons = [...(control.closest("form, section, dialog") ?? document).querySelectorAll("button")];
  const before = buttons.map((button) => button.disabled);
  tell("", { at });
  for (const button of buttons) button.disabled = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    return await act();
  } catch (error) {
    tell(error.message, { at });
    return undefined;
  } finally {
    buttons.forEach((button, number) => { button.disabled = before[number]; });
    document.body.removeAttribute("aria-busy");
  }
}

// Buttons wait for their script, so that no form is ever sent without it.
export function ready() {
  for (const button of document.querySelectorAll("button[disabled]")) button.disabled = button.id === "done";
}

export function show(id) {
  for (const step of document.querySelectorAll("section[id^=step-]")) step.hidden = step.id !== id;
  const heading = document.querySelector(`#${id} h1`);
  heading.tabIndex = -1;
  heading.focus();
}

export function showRecovery(codes, after) {
  const list = document.getElementById("codes");
  list.replaceChildren(...codes.map((code) => {
    const line = document.createElement("li");
    line.append(Object.assign(document.createElement("code"), { textContent: code }));
    return line;
  }));
  document.getElementById("copy").onclick = async () => {
    try {
      await navigator.clipboard.writeText(codes.join("\n"));
      document.getElementById("copy").textContent = "Copied";
    } catch {
      document.getElementById("copy").textContent = "Select them and copy";
    }
  };
  document.getElementById("print").onclick = () => window.print();
  const done = document.getElementById("done");
  document.getElementById("kept").onchange = (event) => { done.disabled = !event.target.checked; };
  done.onclick = after;
  document.getElementById("step-recovery").hidden = false;
}

export function showSecret(offered) {
  document.getElementById("qr").src = offered.qr;
  document.getElementById("secret").textContent = offered.secret.replace(/(.{4})(?=.)/g, "$1 ");
}

for (const moment of document.querySelectorAll("time")) {
  const at = new Date(moment.dateTime);
  moment.title = moment.dateTime;
  moment.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
