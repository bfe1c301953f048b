"""Whether a bundle of a GGUF file says what llama.cpp says with that file.

    PYTHONPATH=src python benchmarks/peers/agreement.py BUNDLE FILE.gguf ENVIRONMENT [--count 32]

llama.cpp continues twenty prompts by the largest logit; the bundle is given the same tokens, one after another, and
asked at each which it would have taken. Where they differ, the lead of llama.cpp's choice over its second says how near
a tie was: both round weights or activations, each in its own way. ENVIRONMENT has llama-cpp-python.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from turns import HERE, Worker

from chimerac.runtime import load

PROMPTS = (
    "The capital of France is",
    "Water boils at a temperature of",
    "Once upon a time there was a little girl who",
    "def fibonacci(n):\n    ",
    "The three primary colors are",
    "Photosynthesis is the process by which",
    "In 1969, humans first",
    "My favorite recipe for bread begins with",
    "The difference between a virus and a bacterium is",
    "To be, or not to be,",
    "1, 2, 3, 5, 8, 13,",
    "Dear Sir or Madam,\n\n",
    "The largest planet of the solar system is",
    "import numpy as np\n\nx = ",
    "The opposite of hot is",
    "A haiku about autumn:\n",
    "Gravity is a force that",
    "Q: What is the square root of 144?\nA:",
    "The Pacific Ocean is",
    "Die Hauptstadt von Deutschland ist",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("gguf", type=Path)
    parser.add_argument("environment", type=Path)
    parser.add_argument("--count", type=int, default=32)
    given = parser.parse_args()
    command = [given.environment / "bin" / "python", HERE / "agreement_llama.py", given.gguf.resolve()]
    same = whole = 0
    leads: list[float] = []
    with Worker(command) as worker, load(given.bundle, threads=1) as session:
        for text in PROMPTS:
            answer = worker.ask({"text": text, "count": given.count})
            if session.encode(text) != answer["prompt"]:
                print(f"other tokens of {text!r}: {session.encode(text)} and {answer['prompt']}")
            session.reset()
            session.prefill(answer["prompt"])
            differ = []
            for token, lead in zip(answer["tokens"], answer["leads"], strict=True):
                if int(np.argmax(session.logits())) != token:
                    differ.append(lead)
                session.prefill([token])
            same += given.count - len(differ)
            whole += not differ
            leads += differ
            print(f"{given.count - len(differ):3} of {given.count}  {text!r}")
    print(f"{same} of {len(PROMPTS) * given.count} tokens are the same; {whole} of {len(PROMPTS)} texts to the end")
    if leads:
        print(f"where they differ llama.cpp's lead is {np.median(leads):.3f} at the median, {max(leads):.3f} at most")


if __name__ == "__main__":
    main()
