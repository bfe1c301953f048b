import { copyFileSync, mkdirSync } from "node:fs";

mkdirSync("dist", { recursive: true });
copyFileSync("index.html", "dist/index.html");

export default {
  mode: "production",
  entry: "./main.js",
  experiments: { outputModule: true },
  output: { module: true, filename: "main.js", publicPath: "auto" },
};
