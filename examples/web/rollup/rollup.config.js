import { copyFileSync, cpSync } from "node:fs";

export default {
  // the worker is a program of its own, which the loader looks for beside itself
  input: { main: "main.js", worker: "home/worker.mjs" },
  output: { dir: "dist", format: "es", entryFileNames: "[name].mjs" },
  plugins: [
    {
      name: "copy",
      writeBundle() {
        cpSync("home", "dist/home", { recursive: true });
        copyFileSync("index.html", "dist/index.html");
      },
    },
  ],
};
