// Judges documents by graphql-js: one JSON object {"schema": n, "text": "..."} a
// line on stdin, one line an answer: "" if graphql-js accepts the document, else
// why not. The arguments are the schemas' files.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { buildSchema, parse, validate } from 'graphql';

const schemas = process.argv.slice(2).map((file) => buildSchema(readFileSync(file, 'utf8')));

function judge({ schema, text }) {
  try {
    const [error] = validate(schemas[schema], parse(text), undefined, { maxErrors: 1 });
    return error ? error.message : '';
  } catch (error) {
    return String(error.message || error);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(judge(JSON.parse(line))) + '\n');
}
