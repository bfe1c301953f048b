// What a text has to close (docs/ledger.md), and what is known of the last generation beside its tokens.
const OBLIGATIONS = ["close_bracket", "close_string", "close_fence", "end_json_object", "complete_sentence", "finish_list"]; // in the order of chm_session_ledger
const LEVELS = ["low", "medium", "high"];
const WHOLE = 32640;

/** What is wrong with the manifest's ledger, or null. */
export function ledgerProblem(ledger) {
  const { obligations, outstanding, weight } = ledger ?? {};
  const within = (value, most) => Number.isInteger(value) && value >= 0 && value <= most;
  const known = Array.isArray(obligations) && obligations.length && new Set(obligations).size === obligations.length && obligations.every((name) => OBLIGATIONS.includes(name));
  if (!known) return "ledger.obligations are none, or have what is unknown, or stands twice";
  if (!within(outstanding, 64)) return "ledger.outstanding is more than 64";
  return within(weight, 65535) ? null : "ledger.weight is more than 65535";
}

/** Let a session keep the manifest's ledger, or none. A module of before keeps none. */
export function useLedger(module, session, ledger) {
  if (!module.exports.chm_session_set_ledger) return;
  const { obligations, outstanding, weight } = ledger ?? { obligations: [], outstanding: 0, weight: 0 };
  module.call("chm_session_set_ledger", session, obligations.reduce((sum, name) => sum + (1 << OBLIGATIONS.indexOf(name)), 0), outstanding, weight);
}

function numbers(module, session, name, count, bytes) {
  return module.withBytes(new Uint8Array(bytes * count), (pointer) => {
    module.call(name, session, pointer, count);
    const view = new DataView(module.memory.buffer, pointer, bytes * count);
    return Array.from({ length: count }, (_, i) => (bytes === 8 ? Number(view.getBigUint64(8 * i, true)) : view.getUint32(4 * i, true)));
  });
}

/** { level, entropy, levels, obligations, pressure } of the last generation; null of a module of before. */
export function diagnosticsOf(module, session) {
  if (!module.exports.chm_session_ledger) return null;
  const levels = numbers(module, session, "chm_session_levels", LEVELS.length, 8);
  const ledger = numbers(module, session, "chm_session_ledger", OBLIGATIONS.length + 1, 4);
  const open = OBLIGATIONS.map((name, i) => [name, ledger[i]]).filter(([, count]) => count);
  return {
    level: LEVELS[module.exports.chm_session_level(session)],
    entropy: module.exports.chm_session_entropy(session),
    levels: Object.fromEntries(LEVELS.map((name, i) => [name, levels[i]])),
    obligations: Object.fromEntries(open),
    pressure: ledger.at(-1) / WHOLE,
  };
}
