import { copyFileSync, cpSync } from "node:fs";
import { build } from "esbuild";

await build({
  // the worker is a program of its own, which the loader looks for beside itself
  entryPoints: { main: "main.js", worker: "home/worker.mjs" },
  bundle: true,
  format: "esm",
  minify: true,
  target: "es2022",
  outdir: "dist",
  outExtension: { ".js": ".mjs" },
});
cpSync("home", "dist/home", { recursive: true });
copyFileSync("index.html", "dist/index.html");
