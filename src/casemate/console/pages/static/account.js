import { Refused, ask, busy, ready, showRecovery, showSecret, tell } from "./api.js";
import { make, offer, sign, usable } from "./passkeys.js";

const element = (id) => document.getElementById(id);
const reload = () => location.reload();

// Asks; where a fresh second factor is wanted, asks the person for one, and then once more.
async function act(method, path, body) {
  try {
    return await ask(method, path, body);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      if (error.code !== "step-up-required") {
        location.replace("/");
        return new Promise(() => {});
      }
      await stepUp();
      return ask(method, path, body);
    }
    throw error;
  }
}

// Resolves once a second factor was given.
function stepUp() {
  const dialog = element("step-up");
  const byPasskey = element("step-up-passkey");
  const form = element("step-up-form");
  tell("", { at: "step-up-status" });
  form.reset();
  dialog.showModal();
  return new Promise((resolve, reject) => {
    const end = (settle) => {
      dialog.onclose = null;
      dialog.close();
      settle();
    };
    const given = (control, answer) => busy(control, async () => {
      await answer();
      end(resolve);
    }, "step-up-status");
    if (byPasskey) {
      byPasskey.disabled = false;
      byPasskey.onclick = () => given(byPasskey, async () => {
        const passkey = await sign(await ask("POST", "/session/verification/options"));
        await ask("POST", "/session/verification/passkey", { passkey });
      });
      if (usable) byPasskey.focus();
    }
    form.onsubmit = (event) => {
      event.preventDefault();
      given(form, () => ask("POST", "/session/verification", { code: form.elements.code.value.trim() }));
    };
    const cancelled = () => reject(new Error("Nothing was done: it wants a fresh second factor."));
    element("step-up-cancel").onclick = () => end(cancelled);
    dialog.onclose = cancelled;
  });
}

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
