/** Types of chimera.mjs. docs/runtime.md explains them. */

/** What all errors of a bundle have; each cause has a class of its own. Aborts throw the reason of their signal instead. */
export declare class ChimeraError extends Error {
  /** "CHM4xx", the same as in C and Python: docs/errors.md. */
  readonly code: string;
  /** What to do; the message ends with it. May be empty. */
  readonly advice: string;
  constructor(message: string, options?: { code?: string; advice?: string; cause?: unknown });
}

/** The server answered with an error, as 404. */
export declare class HttpError extends ChimeraError {}
/** A file of weights, a tokenizer, a grammar or a snapshot is damaged, or of another model. */
export declare class ContainerError extends ChimeraError {}
/** A bundle or a snapshot of a version that this runtime does not read. */
export declare class VersionError extends ChimeraError {}
/** The manifest is missing or not valid. */
export declare class ManifestError extends ChimeraError {}
/** A file is missing, or differs from the manifest. */
export declare class IntegrityError extends ChimeraError {}
/** The server sent an HTML page in place of a file. */
export declare class HtmlError extends IntegrityError {}
/** The bundle is not for WebAssembly. */
export declare class TargetError extends ChimeraError {}
/** The module needs what this engine lacks: SIMD, for example. */
export declare class FeatureError extends ChimeraError {}
/** An argument is none. */
export declare class ArgumentError extends ChimeraError {}
/** The call does not fit the state of the model: it was disposed, is busy, or holds something else. */
export declare class StateError extends ChimeraError {}
/** There is no memory for the model. */
export declare class MemoryError extends ChimeraError {}
/** Every token is excluded, or no logit is a number. */
export declare class SamplingError extends ChimeraError {}
/** The text would be longer than the model's context. */
export declare class ContextError extends ChimeraError {}
/** The tokenizer is not valid. */
export declare class TokenizerError extends ChimeraError {}
/** A grammar is not valid or not there, or does not allow a token. */
export declare class GrammarError extends ChimeraError {}
/** No answer of the server, or one that was cut off or stalled, after all retries. */
export declare class NetworkError extends ChimeraError {}
/** The storage that was asked for is missing or has no room. */
export declare class QuotaError extends ChimeraError {}
/** There is no WebAssembly here. */
export declare class WebAssemblyError extends ChimeraError {}
/** The page's content security policy forbids what loading needs. */
export declare class ContentSecurityError extends ChimeraError {}
/** A worker does not start, or has failed. */
export declare class WorkerError extends ChimeraError {}
/** The model does not compute here what it computed when it was built. */
export declare class SelfTestError extends ChimeraError {}

export interface ManifestFile {
  name: string;
  role: "code" | "variant" | "weights" | "tokenizer" | "grammar" | "data" | "runtime" | "document";
  bytes: number;
  sha256: string;
  /** SHA-256 of parts of so many bytes, of which the last may have fewer. */
  chunks?: { bytes: number; sha256: string[] };
}

export interface Manifest {
  schema: number;
  abi: string;
  name: string;
  target: string;
  chimerac: string;
  config_sha256: string;
  weights_sha256: string;
  files: ManifestFile[];
  memory: { weights_bytes: number; state_bytes: number; arena_bytes: number };
  cpu: string[];
  self_test: { prompt: number[]; tokens: number[]; logits_hash: string; state_hash: string } | null;
  /** The self-test of a module that is no language model. */
  call_test?: { entry: string; calls: { n: number; hashes: string[]; samples: (number | null)[][] }[]; state_hash: string } | null;
  /** Of a module that is no language model: what call() takes and gives. */
  entries?: Entry[];
  provenance: Record<string, string>;
  /** Most tokens of a sequence; absent: 2**31 - 1. */
  context?: number;
  /** What a generation takes where its caller says nothing; modes: name to loop iterations, and to the shares of sources of guesses where they are others. */
  generation?: {
    temperature?: number;
    top_p?: number;
    repetition_penalty?: number;
    max_tokens?: number;
    exit_threshold?: number;
    modes?: Record<string, { loops: number; shares?: Shares }>;
    /** The entropy valve: bits of entropy and loop iterations of its levels. */
    valve?: { thresholds: [number, number]; loops: [number, number, number]; metrics: string[] };
    /** The ledger: the obligations of a text that count, most of them, and the weight of their pressure. */
    ledger?: { obligations: Obligation[]; outstanding: number; weight: number };
    /** How many candidates each source of guesses gives, and what ranks them. */
    shares?: Shares;
  };
  /** Answers of the default grammar whose e**(score / temperature) is below the threshold become this answer. */
  refusal?: { threshold: number; temperature: number; answer: string };
  /** How conversations are put into tokens: docs/bundle.md. */
  chat?: {
    pieces?: {
      opening: (number | string)[];
      answer: (number | string)[];
      next: (number | string)[];
      prompt: (number | string)[];
      system: [(number | string)[], (number | string)[]] | null;
      trim: "none" | "left" | "right" | "both";
    };
    template?: string;
    marks: { thinking?: [number, number]; tool_call?: [number, number] };
    space: boolean;
  };
}

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** A step of an answer. The tokens that begin and end thinking and calls of tools have no text. */
export interface ChatPiece extends Piece {
  part: "answer" | "thinking" | "tool_call";
}

/** Options of chat: those of a generation, but for reset. */
export type ChatOptions = Omit<GenerateOptions, "reset">;

/** An input or a result: floats are Float32Array, integers and truth values Int32Array. */
export interface Port {
  name: string;
  /** "T" is the axis that varies. */
  shape: (number | "T")[];
  /** PyTorch's. */
  dtype: string;
  /** Least and greatest value that an integer of an input may have. */
  values?: [number, number];
}

export interface Entry {
  name: string;
  /** Greatest extent of the axis that varies. */
  most: number;
  inputs: Port[];
  results: Port[];
}

export type Tensor = Float32Array | Int32Array;

export interface CallOptions {
  /** What is called; default: the first entry. */
  entry?: string;
  /** Extent of the axis T where no input tells it. */
  n?: number;
}

export interface LoadProgress {
  /** download: bytes come from a server; verify: all of them are here already; compile: the module is compiled. */
  phase: "download" | "verify" | "compile";
  /** Bytes so far of all files that are needed, each compared with the manifest; of compile, 0 or 1. */
  loaded: number;
  /** Bytes of all files that are needed; of compile, 1. */
  total: number;
  /** Bytes of these that were kept from before. */
  cached: number;
}

/**
 * Where downloads are kept: in the origin private file system, in the Cache API, or nowhere. "auto" takes the first that
 * is there and has room; one that is named and has none throws QuotaError.
 */
export type CacheKind = "auto" | "opfs" | "cache" | "memory";

export interface LoadOptions {
  onProgress?: (progress: LoadProgress) => void;
  /** Aborting throws its reason. */
  signal?: AbortSignal;
  /** Default "auto". */
  cache?: CacheKind;
  /** Threads that share the work; default 1, 0: as many as make sense. In a browser more than 1 need a cross-origin isolated page. */
  threads?: number;
  /** File name of the module to use, in place of the best one that runs here. */
  variant?: string;
  /** Asks for all files in place of the global fetch. */
  fetch?: typeof globalThis.fetch;
  /** Whether to compute in a worker; default: where there are workers, and this is none. */
  worker?: boolean;
  /** Address of a script that imports worker.mjs, where that is of another origin. */
  workerUrl?: string | URL | TrustedScriptUrl;
  /** How often a request is made again after one that failed without a byte; default 4. */
  retries?: number;
  /** Milliseconds without a byte after which a request is given up; default 20,000. */
  stallTimeout?: number;
}

/** A TrustedScriptURL of the page's own policy, which the libraries of TypeScript do not know everywhere. */
export interface TrustedScriptUrl {
  toString(): string;
  toJSON(): string;
}

/** Where the files came from. */
export interface Storage {
  /** What they are kept in; "memory": nothing; "file": a folder, in Node; "bytes": the caller's. */
  kind: "opfs" | "cache" | "memory" | "file" | "bytes";
  /** Why they are not kept. */
  reason?: string;
  /** Bytes that came from the server. */
  downloaded: number;
  /** Bytes that were kept from before. */
  cached: number;
}

/** A bundle that is kept, whole or in part. */
export interface CachedBundle {
  /** Of its manifest. */
  url: string;
  name: string;
  kind: "opfs" | "cache";
  /** Bytes of the files that were needed. */
  bytes: number;
  /** Bytes of these that are kept. */
  stored: number;
  complete: boolean;
}

export type Bytes = ArrayBuffer | ArrayBufferView;

export interface BundleBytes {
  manifest: Manifest | string | Bytes;
  wasm: Bytes;
  /** The other modules, by file name. */
  variants?: Record<string, Bytes>;
  weights: Bytes;
  tokenizer?: Bytes;
  /** The grammars of the bundle; without them generations follow none of these. */
  grammar?: Bytes;
}

/** Addresses of files by their names, "manifest.json" among them: where a bundler has renamed them. */
export interface BundleFiles {
  files: Record<string, string | URL>;
}

/** How many tokens of a prompt were run, or generated. */
export interface RunProgress {
  phase: "prompt" | "generate";
  loaded: number;
  /** Of the prompt; of a generation, the most that it may have. */
  total: number;
}

/** Of what runs tokens, in slices of some milliseconds between which the event loop has its turn (a macrotask). */
export interface RunOptions {
  /** Aborting throws its reason; what was run until then stays. */
  signal?: AbortSignal;
  onProgress?: (progress: RunProgress) => void;
}

/** The names of a home: only names are required, and an area may be its name alone. */
export interface Home {
  entities?: { name: string; aliases?: string[]; domain?: string; area?: string }[];
  areas?: (string | { name: string; aliases?: string[] })[];
  floors?: (string | { name: string; aliases?: string[] })[];
}

/** What is not given comes from `mode`, else from `manifest.generation`, else from the defaults named here. */
export interface GenerateOptions extends RunOptions {
  /** One of the bundle's modes. */
  mode?: string;
  /** Default 256. */
  maxTokens?: number;
  /** 0 (greedy, the default) or 0.01..100. */
  temperature?: number;
  /** 0..1, default 1. */
  topP?: number;
  /** 0 (default) = all. */
  topK?: number;
  /** 0.1..10, default 1 = none. */
  repetitionPenalty?: number;
  /** 64 bits, from 2**53 on a bigint; default 0. */
  seed?: number | bigint;
  /** Independent streams of one seed; default 0. */
  stream?: number;
  /** Iterations of the looped layers; 0 (default) = the model's own number. */
  loops?: number;
  /** Guess tokens and run several in one pass, which changes none: where it pays, unless false; true needs a bundle for it. */
  speculate?: boolean;
  /** Leave the loop early below this relative movement; 0 (default) = never. */
  exitThreshold?: number;
  /** Start a new sequence first; default true. */
  reset?: boolean;
  /**
   * What the text must follow: the name of one of the bundle's grammars, or the bytes of a compiled grammar; "none"; by
   * default the bundle's default grammar, if it has one. The text is complete within maxTokens if that is possible.
   */
  grammar?: string | Uint8Array;
  /**
   * In place of a grammar: a JSON Schema that the text is valid against, a regular expression (of Python's `re`) that the whole text
   * matches, or texts, one of which it is. They are compiled here; what is not throws GrammarError CHM433.
   */
  schema?: object | boolean;
  regex?: string;
  choices?: string[];
  /**
   * The text (or its bytes) whose words a grammar may copy; by default a prompt that is a text, the last message of a
   * conversation.
   */
  request?: string | Uint8Array;
  /** Names that a grammar may copy: those that the request says, or any where it says none; words of the request stand in for no list. */
  lists?: { names?: string[]; areas?: string[]; floors?: string[] };
  /** Count `score`, which takes an exponential for each token that may come; where the bundle refuses, it is counted anyway. */
  score?: boolean;
  /** False: give answers that are too unlikely for the bundle (`manifest.refusal`), too. Of its default grammar only. */
  refuse?: boolean;
  /** False: take all loop iterations, however certain the next tokens are (the bundle's entropy valve). */
  valve?: boolean;
  /** Texts at which the generation ends; they are no part of what is yielded. At most 16. */
  stop?: string | string[];
  /**
   * Pieces that a worker may compute before they are taken; default 16. With 0 the model stands after each piece exactly
   * there, for logits() and the like, and each piece waits for the one before.
   */
  ahead?: number;
}

export interface Piece {
  /** Text that became complete with this token; may be empty. */
  text: string;
  /** -1 for text that was left over at the end. */
  token: number;
}

/** stop: the model, its grammar or a stop text ended it; length: maxTokens or the context; null: it was left early. */
export type FinishReason = "stop" | "length" | null;

export interface Usage {
  promptTokens: number;
  completionTokens: number;
  totalTokens: number;
}

export type GuessSource = "text" | "loose" | "grammar" | "begun" | "following" | "near" | "head" | "drafter" | "bank";

/** Tokens that were guessed, and those of them that were right; docs/spans.md. */
export interface Speculation {
  /** Passes that ran guesses, and those of them of which not all were right. */
  passes: number;
  rollbacks: number;
  proposed: number;
  /** Each saved a pass. */
  accepted: number;
  /** The same by who guessed: text after the same 4 or 5 tokens, or 2 or 3; the grammar; spans of the bank. */
  sources: Partial<Record<GuessSource, { proposed: number; accepted: number }>>;
  /** Of `rollbacks`, by who guessed the token in whose place another one was chosen. */
  wrong: Partial<Record<GuessSource, number>>;
  /** Spans of the bank that were not guessed from when it was their turn: their certificate is not that of their tokens, they go on otherwise too often for the level of the valve, or the grammar forbids them. */
  rejected: Partial<Record<"damaged" | "risk" | "grammar", number>>;
}

/** Candidates of each source of guesses, up to 256, and weights of their scores, where 65536 is 1. */
export interface Shares {
  near: number;
  grammar: number;
  text: number;
  head: number;
  nearness: number;
  boundary: number;
}

/** What a text has to close; docs/ledger.md. */
export type Obligation = "close_bracket" | "close_string" | "close_fence" | "end_json_object" | "complete_sentence" | "finish_list";

/** Of the last generation; the same numbers on every target. */
export interface Diagnostics {
  /** Of the entropy valve, where it is now, and the tokens that each level was chosen for; all 0 without one. */
  level: "low" | "medium" | "high";
  levels: Record<"low" | "medium" | "high", number>;
  /** Of the next token in bits, where the valve looked last; 0 before. */
  entropy: number;
  /** How many are open where the text has ended, of the kinds that are. */
  obligations: Partial<Record<Obligation, number>>;
  /** Of all of these, from 0 to 1. */
  pressure: number;
}

export interface GenerationResult {
  /** All pieces. */
  text: string;
  tokens: Int32Array;
  finishReason: FinishReason;
  /**
   * The sum of the natural logarithms of the tokens' probabilities, each among those that could come there; null where it
   * was not counted, or the generation left early.
   */
  score: number | null;
  /** Whether the answer was too unlikely for the bundle, and is its refusal. */
  refused: boolean;
  /** What guessing tokens did; null of a bundle that was built without. */
  speculation: Speculation | null;
  /** Levels of the valve and open obligations; null of a module that was built before they were counted, or of a generation left early. */
  diagnostics: Diagnostics | null;
  usage: Usage;
  /** Milliseconds that the prompt took, and the tokens after it. */
  promptMs: number;
  generateMs: number;
}

/** Pieces as they come. `result` is there when it ends; it is rejected with what the iteration throws. */
export interface Generation<T extends Piece = Piece> extends AsyncIterableIterator<T> {
  readonly result: Promise<GenerationResult>;
  [Symbol.asyncIterator](): Generation<T>;
  [Symbol.asyncDispose](): Promise<void>;
}

declare global {
  interface SymbolConstructor {
    readonly asyncDispose: unique symbol;
  }
}

// ---- conversations in the shape of chat.completions ----

export interface CompletionRequest {
  /** Any name: the model is the one that was loaded. */
  model?: string;
  messages: Message[];
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean } | null;
  max_tokens?: number | null;
  max_completion_tokens?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  seed?: number | null;
  stop?: string | string[] | null;
  n?: 1 | null;
  /** What the answer is: JSON of a schema (as the option `schema` of generate), any object, or a text. */
  response_format?: { type: "text" | "json_object" } | { type: "json_schema"; json_schema: { name?: string; description?: string; strict?: boolean | null; schema?: object | boolean } } | null;
  /** The decoder hands out no probabilities and takes none: other values are refused (ArgumentError). */
  logprobs?: false | null;
  top_logprobs?: 0 | null;
  logit_bias?: Record<string, never> | null;
}

export interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

export type CompletionReason = "stop" | "length" | "tool_calls";

export interface CompletionUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  created: number;
  model: string;
  choices: {
    index: number;
    message: { role: "assistant"; content: string; reasoning_content?: string; tool_calls?: ToolCall[] };
    logprobs: null;
    finish_reason: CompletionReason;
  }[];
  usage: CompletionUsage;
}

export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  choices: {
    index: number;
    delta: { role?: "assistant"; content?: string; reasoning_content?: string; tool_calls?: (ToolCall & { index: number })[] };
    logprobs: null;
    finish_reason: CompletionReason | null;
  }[];
  usage?: CompletionUsage;
}

export interface Completions {
  create(request: CompletionRequest & { stream: true }, options?: { signal?: AbortSignal }): Promise<AsyncGenerator<ChatCompletionChunk, void, undefined>>;
  create(request: CompletionRequest & { stream?: false | null }, options?: { signal?: AbortSignal }): Promise<ChatCompletion>;
}

export interface Chat {
  (messages: Message[], options?: ChatOptions): Generation<ChatPiece>;
  readonly completions: Completions;
}

/**
 * A loaded model with one sequence. One generation, prefill, call or self-test at a time: StateError for a second one, and for
 * what would change the sequence; tokenize, logits, hashes and snapshot are free. Prompts are texts, their bytes, or token ids.
 * A prompt that does not fit the context throws ContextError. `call` is for modules that are no language models: results by
 * name, "output" where there is one.
 */
export declare class Model {
  private constructor();
  readonly manifest: Manifest;
  readonly vocabSize: number;
  readonly maxLoops: number;
  /** Most tokens of a sequence, prompts and answers together. */
  readonly context: number;
  /** File name of the module that runs. */
  readonly variant: string;
  readonly threads: number;
  readonly storage: Storage;
  /** Tokens of the sequence, loop iterations of the last call, and bytes of the module's memory, when the last request ended. */
  readonly position: number;
  readonly iterations: number;
  readonly memoryBytes: number;
  readonly chat: Chat;
  generate(prompt: string | Uint8Array | Iterable<number>, options?: GenerateOptions): Generation;
  call(inputs: Record<string, Tensor | (number | boolean)[]>, options?: CallOptions): Promise<Record<string, Tensor>>;
  tokenize(text: string | Uint8Array, options?: { specials?: boolean; begins?: boolean }): Promise<Int32Array>;
  prefill(tokens: Iterable<number>, options?: RunOptions): Promise<void>;
  reset(): Promise<void>;
  /**
   * Tell the model which things, areas and floors a home has, or null to forget them. Their text is run once, and every sequence
   * starts after it; they are the lists of names, areas and floors of grammars where generate is given none.
   */
  setNames(home: Home | null, options?: RunOptions): Promise<void>;
  /** Let span knots read a memory where a block of tokens begins, docs/spans.md: vectors after one another, or null for none. `width`: the bytes of each, where they are to be compared with the model's. */
  setMemory(vectors: Uint8Array | null, width?: number): Promise<void>;
  logits(): Promise<Float32Array | null>;
  stateHash(): Promise<bigint>;
  logitsHash(): Promise<bigint>;
  snapshot(): Promise<Uint8Array>;
  restore(snapshot: Bytes): Promise<void>;
  selfTest(options?: RunOptions): Promise<boolean>;
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export declare const Chimera: {
  /** source: the address of a bundle's folder or of its manifest.json, a path in Node, addresses by name, or bytes. */
  load(source: string | URL | BundleFiles | BundleBytes, options?: LoadOptions): Promise<Model>;
  /** The bundles that are kept in this browser. */
  cached(): Promise<CachedBundle[]>;
  /** Forget a bundle, and the files that only it needs; false where it was not kept. */
  delete(source: string | URL): Promise<boolean>;
};
