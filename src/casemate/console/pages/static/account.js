import { Refused, ask, busy, ready, showRecovery, showSecret, tell } from "./api.js";
import { make, offer } from "./passkeys.js";
import { act, stepUp } from "./step_up.js";

const element = (id) => document.getElementById(id);
const reload = () => location.reload();

function sure(question) {
  const dialog = element("sure");
  element("sure-question").textContent = question;
  dialog.showModal();
  return new Promise((resolve) => {
    const end = (answer) => { dialog.onclose = null; dialog.close(); resolve(answer); };
    element("sure-yes").onclick = () => end(true);
    element("sure-no").onclick = () => end(false);
    dialog.onclose = () => end(false);
  });
}

element("sign-out").addEventListener("click", (event) => busy(event.currentTarget, async () => {
  await act("DELETE", "/session");
  location.replace("/");
}));

element("verify").addEventListener("click", (event) => busy(event.currentTarget, async () => {
  await stepUp();
  reload();
}));

for (const button of document.querySelectorAll("[data-revoke]")) {
  button.addEventListener("click", () => busy(button, async () => {
    await act("DELETE", `/sessions/${encodeURIComponent(button.dataset.revoke)}`);
    reload();
  }));
}

for (const button of document.querySelectorAll("[data-remove]")) {
  button.addEventListener("click", async () => {
    const asked = `Remove the passkey "${button.dataset.name}"? Every other session of yours ends.`;
    if (!await sure(asked)) return;
    busy(button, async () => {
      await act("DELETE", `/session/passkeys/${encodeURIComponent(button.dataset.remove)}`);
      reload();
    });
  });
}

element("add-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = event.currentTarget.elements.label.value;
  busy(event.currentTarget, async () => {
    const passkey = await make(await act("POST", "/session/passkeys/options"));
    await act("POST", "/session/passkeys", { passkey, name });
    reload();
  });
});

element("password-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  busy(form, async () => {
    const body = { password: form.elements.old?.value ?? "", new: form.elements.new.value };
    await changed("/session/password", body);
  });
});

// A wrong password or code is told, though its status is the one of a session that is over.
async function changed(path, body, at = "status") {
  try {
    await ask("POST", path, body);
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== "step-up-required") throw error;
    await stepUp();
    await ask("POST", path, body);
  }
  tell("", { at });
  reload();
}

element("app").addEventListener("click", (event) => busy(event.currentTarget, async () => {
  showSecret(await act("POST", "/session/totp?qr=true"));
  const dialog = element("app-dialog");
  const form = element("app-form");
  tell("", { at: "app-status" });
  form.onsubmit = (submitted) => {
    submitted.preventDefault();
    busy(form, () => changed("/session/totp/confirmation", { code: form.elements.code.value.trim() }), "app-status");
  };
  element("app-cancel").onclick = () => dialog.close();
  dialog.showModal();
}));

element("recovery").addEventListener("click", (event) => busy(event.currentTarget, async () => {
  const made = await act("POST", "/session/recovery-codes");
  showRecovery(made.recovery_codes, reload);
  const dialog = element("recovery-dialog");
  dialog.oncancel = (cancelled) => cancelled.preventDefault();
  dialog.showModal();
}));

ready();
offer();
