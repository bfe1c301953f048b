// The options schema, regex and choices as one text, which crosses to where the model computes and is compiled there (compiling.mjs).
import { refuse } from "./arguments.mjs";

const NAMES = ["schema", "regex", "choices"];

/** Options of a generation where a source has become `source`, its name and value as JSON. */
export function withSource(options) {
  const name = NAMES.find((one) => options[one] !== undefined);
  if (!name) return options;
  const { [name]: value, ...rest } = options;
  try {
    return { ...rest, source: JSON.stringify({ [name]: value }) };
  } catch (cause) {
    return refuse(`${name} is no JSON: ${cause.message}`);
  }
}
