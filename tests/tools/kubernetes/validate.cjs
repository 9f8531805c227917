// Checks Kubernetes objects against the schemas of kubernetes-models (what the API server checks at "apply", most of it), and by
// TypeScript's types for fields that do not exist, which the API server drops with a warning.
//   node validate.cjs MODULES < OBJECTS       MODULES: a node_modules; OBJECTS: a JSON array of [where, object]
// Prints what is wrong, a line each; exit status 1 if anything is.
"use strict";
const fs = require("fs");
const path = require("path");
const modules = path.resolve(process.argv[2]);
const load = (name) => require(require.resolve(name, { paths: [modules] }));
const ts = load("typescript");

// What is not of Kubernetes itself.
const PACKAGES = { "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator" };
const moduleOf = (apiVersion) => `${PACKAGES[apiVersion] ?? "kubernetes-models"}/${apiVersion}`;

const wrong = [];
const source = [];
const places = [];
for (const [where, object] of JSON.parse(fs.readFileSync(0, "utf8"))) {
  const name = moduleOf(object.apiVersion);
  let Model;
  try {
    Model = load(`${name}/${object.kind}`)[object.kind];
  } catch {
    wrong.push(`${where}: there is no ${object.kind} in ${object.apiVersion}`);
    continue;
  }
  try {
    new Model(object).validate();
  } catch (error) {
    wrong.push(`${where}: ${error.message}`);
  }
  places.push(where);
  source.push(`import { I${object.kind} as T${places.length} } from "${name}/${object.kind}";`);
  source.push(`export const o${places.length}: T${places.length} = ${JSON.stringify(object)};`);
}

// One object a line: the compiler's line says which.
const file = path.join(modules, "..", "objects.ts");
const options = {
  strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS,
  moduleResolution: ts.ModuleResolutionKind.Node10, types: [], typeRoots: [],
};
const host = ts.createCompilerHost(options);
const text = source.join("\n");
const inner = host.getSourceFile.bind(host);
host.getSourceFile = (name, ...rest) =>
  name === file ? ts.createSourceFile(name, text, options.target) : inner(name, ...rest);
host.fileExists = ((exists) => (name) => name === file || exists(name))(host.fileExists.bind(host));
for (const found of ts.getPreEmitDiagnostics(ts.createProgram([file], options, host))) {
  const line = found.file ? found.file.getLineAndCharacterOfPosition(found.start).line : 0;
  wrong.push(`${places[Math.floor(line / 2)]}: ${ts.flattenDiagnosticMessageText(found.messageText, " ")}`);
}
for (const each of wrong) console.log(each);
process.exitCode = wrong.length ? 1 : 0;
