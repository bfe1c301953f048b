// What publint and attw say of an npm package, packed as npm packs it. usage: node check.mjs FOLDER; prints JSON
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

const FOR_COMMONJS = ["node10", "node16-cjs"]; // the package has ES modules only

const folder = resolve(process.argv[2]);
const to = mkdtempSync(join(tmpdir(), "chimera-pack-"));
const [packed] = JSON.parse(execFileSync("npm", ["pack", "--json", "--pack-destination", to], { cwd: folder, encoding: "utf8" }));
const data = readFileSync(join(to, packed.filename));
const { messages, pkg } = await publint({ pack: { tarball: data.buffer.slice(data.byteOffset, data.byteOffset + data.length) }, strict: true });
const { types, problems } = await checkPackage(createPackageFromTarballData(new Uint8Array(data)));
const wrong = problems.filter(({ resolutionKind }) => !FOR_COMMONJS.includes(resolutionKind));
console.log(JSON.stringify({ files: packed.files.map(({ path }) => path), publint: messages.map((message) => formatMessage(message, pkg)), types: types && types.kind, attw: wrong }));
