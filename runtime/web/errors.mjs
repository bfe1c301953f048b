// What can go wrong with a bundle: a class for each cause. `code` is CHM4xx, the same as in C and Python (docs/errors.md).

/** The base of all: `code`, and `advice`, what to do, which is the end of the message, too. */
export class ChimeraError extends Error {
  static code = "CHM421";
  static kind = "ChimeraError"; // bundlers may shorten the names of classes
  static advice = "";

  constructor(message, { code = new.target.code, advice = new.target.advice, cause } = {}) {
    super(advice ? `${message}; ${advice}` : message, cause === undefined ? {} : { cause });
    this.name = new.target.kind;
    this.code = code;
    this.advice = advice;
  }
}

/** The server answered with an error, as 404. */
export class HttpError extends ChimeraError {
  static code = "CHM400";
  static kind = "HttpError";
  static advice = "check the address";
}

/** A container (weights, tokenizer, grammar, snapshot) is damaged, or of another model. */
export class ContainerError extends ChimeraError {
  static code = "CHM401";
  static kind = "ContainerError";
}

/** A bundle or a snapshot of a version that this runtime does not read. */
export class VersionError extends ChimeraError {
  static code = "CHM411";
  static kind = "VersionError";
}

/** The manifest is missing or not valid. */
export class ManifestError extends ChimeraError {
  static code = "CHM410";
  static kind = "ManifestError";
}

/** A file is missing, or differs from the manifest. */
export class IntegrityError extends ChimeraError {
  static code = "CHM412";
  static kind = "IntegrityError";
}

/** The server sent an HTML page in place of a file. */
export class HtmlError extends IntegrityError {
  static kind = "HtmlError";
  static advice = "copy the whole bundle to the server, and look for a rule that answers unknown addresses with a page";
}

/** The bundle is not for WebAssembly. */
export class TargetError extends ChimeraError {
  static code = "CHM413";
  static kind = "TargetError";
}

/** The module needs what this engine lacks: SIMD, for example. */
export class FeatureError extends ChimeraError {
  static code = "CHM414";
  static kind = "FeatureError";
}

/** An argument is none. */
export class ArgumentError extends ChimeraError {
  static code = "CHM420";
  static kind = "ArgumentError";
}

/** The call does not fit the state of the model: it was disposed, is busy, or holds something else. */
export class StateError extends ChimeraError {
  static code = "CHM421";
  static kind = "StateError";
}

/** There is no memory for the model. */
export class MemoryError extends ChimeraError {
  static code = "CHM422";
  static kind = "MemoryError";
  static advice = "close other tabs or programs, or load a smaller model";
}

/** Every token is excluded, or no logit is a number. */
export class SamplingError extends ChimeraError {
  static code = "CHM423";
  static kind = "SamplingError";
}

/** The text would be longer than the model's context. */
export class ContextError extends ChimeraError {
  static code = "CHM424";
  static kind = "ContextError";
}

export class TokenizerError extends ChimeraError {
  static code = "CHM430";
  static kind = "TokenizerError";
}

/** A grammar is not valid or not there, or does not allow a token. */
export class GrammarError extends ChimeraError {
  static code = "CHM431";
  static kind = "GrammarError";
}

/** No answer of the server, or one that was cut off or stalled, after all retries. */
export class NetworkError extends ChimeraError {
  static code = "CHM442";
  static kind = "NetworkError";
  static advice = "check the connection and load again: what arrived is kept where there is a cache";
}

/** The storage that was asked for is missing or has no room. */
export class QuotaError extends ChimeraError {
  static code = "CHM443";
  static kind = "QuotaError";
  static advice = 'free some storage, or load with cache: "auto" or "memory"';
}

/** There is no WebAssembly here. */
export class WebAssemblyError extends ChimeraError {
  static code = "CHM444";
  static kind = "WebAssemblyError";
  static advice = "use a browser of 2017 or later; some switch it off in a mode of higher security";
}

/** The page's content security policy forbids what loading needs. */
export class ContentSecurityError extends ChimeraError {
  static code = "CHM445";
  static kind = "ContentSecurityError";
}

/** A worker does not start, or has failed. */
export class WorkerError extends ChimeraError {
  static code = "CHM446";
  static kind = "WorkerError";
}

/** The model does not compute here what it computed when it was built. */
export class SelfTestError extends ChimeraError {
  static code = "CHM450";
  static kind = "SelfTestError";
}

const CLASSES = [
  HttpError, ContainerError, VersionError, ManifestError, IntegrityError, HtmlError, TargetError, FeatureError, ArgumentError, StateError,
  MemoryError, SamplingError, ContextError, TokenizerError, GrammarError, NetworkError, QuotaError, WebAssemblyError, ContentSecurityError,
  WorkerError, SelfTestError,
];
const byCode = new Map(CLASSES.map((one) => [one.code, one]).reverse()); // of those with one code the first
for (const code of ["CHM432", "CHM433"]) byCode.set(code, GrammarError);
for (const code of ["CHM402", "CHM403", "CHM404", "CHM406", "CHM407"]) byCode.set(code, ContainerError);
byCode.set("CHM405", VersionError);

/** The error of a code. */
export function errorOf(code, message, cause) {
  const Kind = byCode.get(code) ?? ChimeraError;
  return new Kind(message, { code, cause });
}

// ---- over the border of a worker ----

export const described = ({ name, code, advice, message }) => ({ name, code, advice, message });

/** The error that a worker has described. */
export function revived({ name, code, advice, message }) {
  if (name === "AbortError") return new DOMException(message, name);
  const Kind = CLASSES.find((one) => one.kind === name);
  if (!Kind) return new WorkerError(`the worker has failed: ${name}: ${message}`);
  const error = new Kind("", { code, advice: "" });
  return Object.assign(error, { message, advice });
}
