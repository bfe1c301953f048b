// Builds the webpack example in a folder by its own configuration. usage: node webpack.mjs FOLDER
import { pathToFileURL } from "node:url";
import webpack from "webpack";

process.chdir(process.argv[2]);
const { default: config } = await import(pathToFileURL(`${process.cwd()}/webpack.config.js`));
webpack({ ...config, context: process.cwd() }, (error, stats) => {
  if (!error && !stats.hasErrors()) return;
  console.error(error ?? stats.toString());
  process.exitCode = 1;
});
