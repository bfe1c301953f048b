/** Types of chimera.mjs. docs/runtime.md explains them. */

export declare class ChimeraError extends Error {
  /** "CHM4xx", the same as in C and Python. */
  readonly code: string;
  constructor(code: string, message: string);
}

export interface ManifestFile {
  name: string;
  role: "code" | "variant" | "weights" | "tokenizer" | "grammar" | "data" | "runtime" | "document";
  bytes: number;
  sha256: string;
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
  /** What a generation takes where its caller says nothing; modes: name to loop iterations. */
  generation?: {
    temperature?: number;
    top_p?: number;
    repetition_penalty?: number;
    max_tokens?: number;
    exit_threshold?: number;
    modes?: Record<string, { loops: number }>;
  };
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

export interface Progress {
  /** The file that is being read. */
  file: string;
  /** Bytes of all files so far. */
  loaded: number;
  /** Bytes of all files. */
  total: number;
}

export interface LoadOptions {
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
  /** Threads that share the work; default 1, 0: as many as make sense. In a browser more than 1 need a cross-origin isolated page. */
  threads?: number;
  /** File name of the module to use, in place of the best one that runs here. */
  variant?: string;
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

/** How much of a prompt was run. */
export interface PromptProgress {
  tokens: number;
  total: number;
}

/** Of what runs tokens, in slices of some milliseconds between which the event loop has its turn (a macrotask). */
export interface RunOptions {
  /** Aborting throws its reason; what was run until then stays. */
  signal?: AbortSignal;
  onProgress?: (progress: PromptProgress) => void;
}

/** The names of a home: only names are required, and an area may be its name alone. */
export interface Home {
  entities?: { name: string; aliases?: string[]; domain?: string; area?: string }[];
  areas?: (string | { name: string; aliases?: string[] })[];
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
   * The text (or its bytes) whose words a grammar may copy; by default a prompt that is a text, the last message of a
   * conversation.
   */
  request?: string | Uint8Array;
  /** Names that a grammar may copy; words of the request stand in for a list that is not given. */
  lists?: { names?: string[]; areas?: string[]; floors?: string[] };
}

export interface Piece {
  /** Text that became complete with this token; may be empty. */
  text: string;
  /** -1 for text that was left over at the end. */
  token: number;
}

export type FinishReason = "stop" | "length" | null;

/**
 * One prefill, generation or self-test at a time: CHM421 for a second one. Prompts are texts, their bytes, or token ids.
 * `context`: most tokens of a sequence, prompts and answers together; a prompt that does not fit throws CHM424.
 * `call` is for modules that are no language models: results by name, "output" where there is one.
 */
export declare class Model {
  private constructor();
  readonly manifest: Manifest;
  readonly vocabSize: number;
  readonly maxLoops: number;
  readonly context: number;
  readonly variant: string;
  readonly threads: number;
  readonly position: number;
  readonly iterations: number;
  readonly finishReason: FinishReason;
  readonly tokens: Int32Array;
  generate(prompt: string | Uint8Array | Iterable<number>, options?: GenerateOptions): AsyncGenerator<Piece, void, undefined>;
  chat(messages: Message[], options?: ChatOptions): AsyncGenerator<ChatPiece, void, undefined>;
  call(inputs: Record<string, Tensor | (number | boolean)[]>, options?: CallOptions): Record<string, Tensor>;
  encode(text: string | Uint8Array, options?: { specials?: boolean; begins?: boolean }): Int32Array;
  prefill(tokens: Iterable<number>, options?: RunOptions): Promise<void>;
  reset(): void;
  /**
   * Tell the model which things and areas a home has, or null to forget them. Their text is run once, and every sequence
   * starts after it; they are the lists of names and areas of grammars where generate is given none.
   */
  setNames(home: Home | null, options?: RunOptions): Promise<void>;
  logits(): Float32Array | null;
  stateHash(): bigint;
  logitsHash(): bigint;
  snapshot(): Uint8Array;
  restore(snapshot: Bytes): void;
  selfTest(options?: RunOptions): Promise<boolean>;
  dispose(): void;
}

export declare function load(source: string | URL | BundleBytes, options?: LoadOptions): Promise<Model>;
