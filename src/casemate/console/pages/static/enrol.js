import { ask, busy, ready, show, showRecovery, showSecret, tell } from "./api.js";
import { make, offer } from "./passkeys.js";

const invitation = document.getElementById("invitation");
const element = (id) => document.getElementById(id);

function enrolled(answer) {
  document.querySelector(".below").hidden = true;
  show("step-recovery");
  showRecovery(answer.recovery_codes, () => location.replace("/account"));
}

element("invitation-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const code = invitation.value.trim();
  if (event.submitter?.value === "password") {
    show("step-password");
    tell("");
    return;
  }
  busy(form, async () => {
    const passkey = await make(await ask("POST", "/enrolment/passkey/options", { invitation: code }));
    const name = element("label").value.trim() || "My first passkey";
    enrolled(await ask("POST", "/enrolment/passkey", { invitation: code, passkey, name, cookie: true }));
  });
});

element("password-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const { password, again } = event.currentTarget.elements;
  if (password.value !== again.value) {
    tell("The two passwords differ: type the same twice.");
    return;
  }
  busy(event.currentTarget, async () => {
    const body = { invitation: invitation.value.trim(), password: password.value, qr: true };
    showSecret(await ask("POST", "/enrolment", body));
    show("step-app");
  });
});

element("app-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const code = event.currentTarget.elements.code.value.trim();
  busy(event.currentTarget, async () => {
    const body = { invitation: invitation.value.trim(), code, cookie: true };
    enrolled(await ask("POST", "/enrolment/confirmation", body));
  });
});

ready();
offer();
