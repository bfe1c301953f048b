/** A program of its own, which exports nothing. */
export {};
