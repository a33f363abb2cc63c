import { ask, busy, ready } from "./api.js";
import { offer, sign, usable } from "./passkeys.js";

const form = document.getElementById("password-form");
const byPasskey = document.getElementById("passkey");

async function arrive(answer) {
  await answer;
  const asked = new URLSearchParams(location.search); // a command line that waits
  location.replace(asked.has("challenge") ? `/command?${asked}` : "/account");
}

byPasskey?.addEventListener("click", () => busy(byPasskey, async () => {
  const passkey = await sign(await ask("POST", "/session/passkey/options"));
  await arrive(ask("POST", "/session/passkey", { passkey, cookie: true }));
}));

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { name, password, code } = form.elements;
  if (!name.reportValidity() || !password.reportValidity()) return;
  busy(form, async () => {
    const given = { name: name.value.trim(), password: password.value, cookie: true };
    if (event.submitter?.id === "second") {
      const passkey = await sign(await ask("POST", "/session/passkey/options"), "discouraged");
      await arrive(ask("POST", "/session/passkey", { ...given, passkey }));
    } else {
      await arrive(ask("POST", "/session", { ...given, code: code.value.trim() }));
    }
  });
});

// Other places to sign in, where an operator has set some up.
async function providers() {
  const answer = await fetch("/api/v1/providers/public", { credentials: "omit" });
  const { items = [] } = answer.ok ? await answer.json() : {};
  const list = document.querySelector("#providers ul");
  for (const one of items) {
    const link = document.createElement("a");
    link.className = "button wide";
    link.href = `/api/v1/session/provider/${encodeURIComponent(one.name)}`;
    link.textContent = `Sign in with ${one.display || one.name}`;
    const line = document.createElement("li");
    line.append(link);
    list.append(line);
  }
  document.getElementById("providers").hidden = items.length === 0;
}

ready();
offer();
if (usable) byPasskey?.focus();
providers().catch(() => {});
