// The formats of JSON Schema that strings can be held to, as regular expressions. The same as in Python's frontends/grammar/formats.py.
const { raw } = String;
const YEAR = raw`(?:\d{3}[1-9]|\d\d[1-9]0|\d[1-9]00|[1-9]000)`; // from the year 1
const DAY = raw`(?:${YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))`
  + raw`|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)`;
const CLOCK = raw`(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[zZ]|[+-](?:[01]\d|2[0-3]):[0-5]\d)`;
const BYTE = raw`(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`;
const IPV4 = raw`(?:${BYTE}\.){3}${BYTE}`;
const GROUP = "[0-9a-fA-F]{1,4}";
const TAIL = `(?:${GROUP}:${GROUP}|${IPV4})`;
const IPV6 = [
  `(?:${GROUP}:){6}${TAIL}`, `::(?:${GROUP}:){5}${TAIL}`,
  ...[0, 1, 2, 3, 4].map((before) => `(?:${GROUP}(?::${GROUP}){0,${before}})?::(?:${GROUP}:){${4 - before}}${TAIL}`),
  `(?:${GROUP}(?::${GROUP}){0,5})?::${GROUP}`, `(?:${GROUP}(?::${GROUP}){0,6})?::`,
].join("|");
const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const LOCAL = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const CODED = "%[0-9A-Fa-f]{2}";
const UNRESERVED = `[A-Za-z0-9._~!$&'()*+,;=:@-]|${CODED}`;
const AFTER_PATH = raw`(?:\?(?:${UNRESERVED}|[/?])*)?(?:#(?:${UNRESERVED}|[/?])*)?`;
const HOST = raw`(?://(?:${UNRESERVED}|[\[\]])*`;
const URI = `[A-Za-z][A-Za-z0-9+.-]*:${HOST})?(?:${UNRESERVED}|/)*${AFTER_PATH}`;
const SEGMENT = `(?:[A-Za-z0-9._~!$&'()*+,;=@-]|${CODED})`; // of a reference without a scheme: no colon
const POINTER = "(?:/(?:[^~/]|~[01])*)*";
const CLOCK_TIME = raw`T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)`;
const DATES = raw`(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)`;

export const FORMATS = {
  date: DAY, time: CLOCK, "date-time": `${DAY}[tT]${CLOCK}`, duration: raw`P(?:${DATES}(?:${CLOCK_TIME})?|${CLOCK_TIME}|\d+W)`,
  uuid: "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
  ipv4: IPV4, ipv6: `(?:${IPV6})`, email: raw`${LOCAL}(?:\.${LOCAL})*@${LABEL}(?:\.${LABEL})*`, hostname: raw`${LABEL}(?:\.${LABEL})*`,
  uri: URI,
  "uri-reference": `(?:${URI}|${HOST}(?:/(?:${UNRESERVED}|/)*)?|/(?:(?:${UNRESERVED})(?:${UNRESERVED}|/)*)?|${SEGMENT}+(?:/(?:${UNRESERVED}|/)*)?)?${AFTER_PATH})`,
  "json-pointer": POINTER, "relative-json-pointer": raw`(?:0|[1-9]\d*)(?:#|${POINTER})`,
};
