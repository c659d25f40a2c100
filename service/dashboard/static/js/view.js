// What a page shows, kept in its address: it can be sent, survives a reload, and Back works from elsewhere.

/** Parameters after the `#`. Every part of a page reads and writes its own names, and leaves the others alone. */
export class View {
  #heard = new Set();

  constructor() {
    addEventListener("hashchange", () => {
      for (const hear of this.#heard) hear();
    });
  }

  get #parameters() {
    return new URLSearchParams(location.hash.slice(1));
  }

  get(name) {
    return this.#parameters.get(name);
  }

  /** All [name, value] pairs. */
  entries() {
    return [...this.#parameters];
  }

  /** Sets names to values; null and "" take a name away. Nobody is called. */
  set(values) {
    const parameters = this.#parameters;
    for (const [name, value] of Object.entries(values)) {
      if (value === null || value === undefined || value === "") parameters.delete(name);
      else parameters.set(name, String(value));
    }
    this.#write(parameters);
  }

  /** Takes away all names that match, and sets others in their place. */
  replace(pattern, values) {
    const parameters = this.#parameters;
    for (const name of [...parameters.keys()]) if (pattern.test(name)) parameters.delete(name);
    for (const [name, value] of Object.entries(values)) parameters.set(name, String(value));
    this.#write(parameters);
  }

  /** Calls `hear` when somebody changes the address by hand. */
  onChange(hear) {
    this.#heard.add(hear);
  }

  #write(parameters) {
    const text = parameters.toString();
    // An address that ends in "#" would scroll to the top.
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }
}
