// The entropy valve of a bundle: fewer loop iterations where the next tokens are certain.
const METRICS = { grammar_branching: 1, debt_pressure: 2 }; // as of chm_session_set_valve

/** What is wrong with the manifest's valve, or null. */
export function valveProblem(valve) {
  const { thresholds, loops, metrics } = valve ?? {};
  const numbers = (list, count, valid) => Array.isArray(list) && list.length === count && list.every(valid);
  const bits = (value) => typeof value === "number" && value >= 0 && value <= 64;
  if (!numbers(thresholds, 2, bits) || thresholds[0] > thresholds[1]) return "valve.thresholds are not two numbers from 0 to 64, the larger one last";
  if (!numbers(loops, 3, (value) => Number.isInteger(value) && value >= 1 && value <= 0x7fffffff)) return "valve.loops are not three numbers in range";
  const known = Array.isArray(metrics) && new Set(metrics).size === metrics.length && metrics.every((name) => Object.hasOwn(METRICS, name));
  return known ? null : "valve.metrics has what is unknown, or stands twice";
}

/** Let a session follow the manifest's valve, or none. A module of before has no valve, and neither has its manifest. */
export function useValve(module, session, valve) {
  if (!module.exports.chm_session_set_valve) return;
  const { thresholds, loops, metrics } = valve ?? { thresholds: [0, 0], loops: [0, 0, 0], metrics: [] };
  module.call("chm_session_set_valve", session, ...thresholds, ...loops, metrics.reduce((sum, name) => sum + METRICS[name], 0));
}
