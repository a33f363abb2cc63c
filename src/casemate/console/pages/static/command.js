// Hands this session on to a command line that waits on the person's own machine, once they agree.

import { busy, ready } from "./api.js";
import { act } from "./step_up.js";

const form = document.getElementById("command");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(form, async () => {
    const { challenge, port } = form.dataset;
    const { url } = await act("POST", "/session/command", { challenge, port: Number(port) });
    location.replace(url);
  });
});

ready();
