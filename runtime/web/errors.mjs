/** Everything that can go wrong with a bundle; `code` is CHM4xx, the same as in C and Python. */
export class ChimeraError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "ChimeraError";
    this.code = code;
  }
}
