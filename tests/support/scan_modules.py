"""Modules with scans, as text: all that may be carried, read and yielded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chimerac.compiler.ir.module import Module
from chimerac.compiler.ir.text import parse

#: Carried: a state that is overwritten, what was carried before, a count, a number that the call gives; rows of what is
#: computed and of the tokens; yielded: what is computed, what was carried before, and a row that was read.
TEXT = """
module scans block=8 loops=1..1
constant table: f32[5,4]
constant w: f32[4,4]
constant one: i32[]
constant z: f32[1,4]
state s: f32[1,4] iterations=1
graph prefill(%tokens: i32[T], %position: i32[]) tokens=8 role=prefill {
  %t: f32[5,4] = constant() {name='table'}
  %w: f32[4,4] = constant() {name='w'}
  %one: i32[] = constant() {name='one'}
  %z: f32[1,4] = constant() {name='z'}
  %x: f32[T,4] = embedding(%tokens, %t)
  %s: f32[1,4] = state.read() {name='s'}
  %e: f32[1,4], %e2: f32[1,4], %k: i32[], %p: i32[], %y: f32[T,4], %y2: f32[T,4], %y3: f32[T,4], %ids: i32[T] = \
scan(%s, %z, %one, %position, %x, %tokens) {carried=4} \
(%h: f32[1,4], %g: f32[1,4], %i: i32[], %pp: i32[], %r: f32[1,4], %id: i32[1]) {
    %a: f32[1,4] = linear(%h, %w)
    %b: f32[1,4] = add(%a, %r)
    %c: f32[1,4] = tanh(%b)
    %i2: i32[] = int_add(%i, %pp)
    %q: f32[4] = reshape(%c) {shape='4'}
    %q2: f32[1,4] = reshape(%q) {shape='1,4'}
    %f: f32[] = to_float(%i)
    %m: f32[1,4] = mul(%g, %f)
    yield %q2, %h, %i2, %i, %c, %h, %m, %id
  }
  state.write(%e) {name='s'}
  %o: f32[T,4] = add(%y, %y2)
  %o2: f32[T,4] = add(%o, %y3)
  %o3: f32[T,4] = add(%o2, %e2)
  %n: f32[] = to_float(%k)
  %idf: f32[T] = to_float(%ids)
  %l: f32[1,4] = last_token(%o3)
  %lr: f32[1] = last_token(%idf)
  %ll: f32[1,4] = mul(%l, %lr)
  %lll: f32[1,4] = mul(%ll, %n)
  return %lll
}
"""
#: A scan of a fixed number of rows within one over the tokens.
NESTED = """
module nested block=8 loops=1..1
constant table: f32[5,4]
constant w: f32[2,2]
state s: f32[1,2] iterations=1
graph prefill(%tokens: i32[T], %position: i32[]) tokens=8 role=prefill {
  %t: f32[5,4] = constant() {name='table'}
  %w: f32[2,2] = constant() {name='w'}
  %x: f32[T,4] = embedding(%tokens, %t)
  %s: f32[1,2] = state.read() {name='s'}
  %e: f32[1,2], %y: f32[T,2,2] = scan(%s, %x) {carried=1} (%h: f32[1,2], %r: f32[1,4]) {
    %pairs: f32[2,2] = reshape(%r) {shape='2,2'}
    %h2: f32[1,2], %v: f32[2,2] = scan(%h, %pairs) {carried=1, reverse=1} (%c: f32[1,2], %pair: f32[1,2]) {
      %a: f32[1,2] = linear(%c, %w)
      %b: f32[1,2] = add(%a, %pair)
      %d: f32[1,2] = tanh(%b)
      yield %d, %c
    }
    %v2: f32[1,2,2] = reshape(%v) {shape='1,2,2'}
    yield %h2, %v2
  }
  state.write(%e) {name='s'}
  %flat: f32[T,4] = reshape(%y) {shape='T,4'}
  %l: f32[1,4] = last_token(%flat)
  return %l
}
"""


def scan_module(text: str = TEXT, *, reverse: bool = False) -> Module:
    """A lowered module with graphs of the roles decode and prefill.

    Args:
        reverse: the first scan goes from the last row to the first.
    """
    text = text.replace("{carried=4}", "{carried=4, reverse=1}") if reverse else text
    random = np.random.default_rng(5)
    shapes = {name: value.type for name, value in parse(text).constants.items()}
    data = {
        name: np.array(1, np.int32)
        if kind.dtype == "i32"
        else random.standard_normal([int(d) for d in kind.shape], np.float32)
        for name, kind in shapes.items()
    }
    module = parse(text, data)
    return module.with_graph(replace(module.entry("prefill"), name="decode", role="decode", tokens=1))
