/** Types of worker-client.mjs. */
import type { CallOptions, ChatOptions, ChatPiece, FinishReason, GenerateOptions, Home, LoadOptions, Manifest, Message, Piece, RunOptions, Tensor } from "./chimera.mjs";

/** A model in a worker. */
export declare class WorkerModel {
  private constructor();
  readonly manifest: Manifest;
  readonly vocabSize: number;
  readonly maxLoops: number;
  readonly context: number;
  readonly threads: number;
  readonly variant: string;
  readonly finishReason: FinishReason;
  generate(prompt: string | Uint8Array | Iterable<number>, options?: GenerateOptions): AsyncGenerator<Piece, void, undefined>;
  chat(messages: Message[], options?: ChatOptions): AsyncGenerator<ChatPiece, void, undefined>;
  call(inputs: Record<string, Tensor | (number | boolean)[]>, options?: CallOptions): Promise<Record<string, Tensor>>;
  reset(): Promise<void>;
  setNames(home: Home | null, options?: RunOptions): Promise<void>;
  selfTest(options?: RunOptions): Promise<boolean>;
  /** Ends the worker, which frees all memory of the model at once. */
  dispose(): void;
}

export declare function loadInWorker(url: string | URL, options?: LoadOptions): Promise<WorkerModel>;
