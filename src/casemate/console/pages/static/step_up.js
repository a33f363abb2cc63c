// Changes that may want a fresh second factor first, and the dialog that asks for one.

import { Refused, ask, busy, tell } from "./api.js";
import { sign, usable } from "./passkeys.js";

const element = (id) => document.getElementById(id);

// Asks; where a fresh second factor is wanted, asks the person for one, and then once more.
export async function act(method, path, body) {
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
export function stepUp() {
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
