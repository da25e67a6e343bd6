// The page of `taper serve`: the server answers.
const backend = {
  // A server whose networks run on a GPU computes no maps.
  maps: true,
  async start() {
    $("here").textContent = new URL(".", location.href).href;
    try {
      return await (await fetch("models")).json();
    } catch {
      throw new Error("The server does not answer.");
    }
  },
  async ask(picture, model, top, explain) {
    const map = explain && this.maps;
    const address = `predict?model=${encodeURIComponent(model)}&top=${top}&explain=${map}`;
    let response;
    for (let tries = 0; ; tries += 1) {
      response = await fetch(address, { method: "POST", body: picture });
      // The server is busy: it says when to come again.
      if (response.status !== 503 || tries === 5) break;
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((later) => setTimeout(later, 1000 * seconds));
    }
    if (response.status === 501 && map) {
      this.maps = false;
      return this.ask(picture, model, top, false);
    }
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  },
};
