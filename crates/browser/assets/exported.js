// The page of `taper export --format web`: the browser answers.
const backend = {
  classifier: null,
  loading: null,
  start(tell) {
    this.loading = this.load(tell);
    return this.loading;
  },
  async load(tell) {
    let taper;
    try {
      taper = await import("./taper.js");
    } catch {
      throw new Error(location.protocol === "file:"
        ? "Browsers open this page only from a web server: run 'python3 -m http.server' in its "
          + "folder, and open http://localhost:8000/"
        : "taper.js cannot be loaded: the files of this folder have to stay together.");
    }
    const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
    this.classifier = await taper.load({
      onProgress: (loaded, total) =>
        tell(`Loading the model: ${megabytes(loaded)}${total ? ` of ${megabytes(total)}` : ""} MB`),
    });
    const { network, classes } = this.classifier;
    return [{ name: network, classes }];
  },
  async ask(picture, model, top, explain) {
    await this.loading;
    const answer = await this.classifier.predict(picture, { explain });
    const sorted = answer.probabilities.sort((a, b) => b.probability - a.probability);
    const shown = sorted.slice(0, top).map(({ label, probability }) => [label, probability]);
    return { ...answer, probabilities: Object.fromEntries(shown) };
  },
};
