// Coerces variables and arguments by graphql-js. The arguments are the schemas'
// files. One request a line on stdin, one answer a line on stdout:
//   {"lex": text}                      -> {"tokens": [[kind, value], ...]} or {"invalid": message}
//   {"schema": n, "text", "variables"} -> {"invalid": message} if the document is refused,
//     {"errors": message} if the variables are, else {"coerced": {...}, "arguments": {"line:column": {...} or null}},
//     null where getArgumentValues throws; the place is that of the field's alias or name.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { buildSchema, getVariableValues, getLocation, Lexer, parse, Source, TypeInfo, validate, visit, visitWithTypeInfo } from 'graphql';
import { getArgumentValues } from 'graphql/execution/values.js';

const schemas = process.argv.slice(2).map((file) => buildSchema(readFileSync(file, 'utf8')));

function lex(text) {
  const lexer = new Lexer(new Source(text));
  const tokens = [];
  for (let token = lexer.advance(); token.kind !== '<EOF>'; token = lexer.advance()) {
    tokens.push([token.kind, token.value ?? '']);
  }
  return { tokens };
}

function coerce({ schema: n, text, variables }) {
  const schema = schemas[n];
  const document = parse(text);
  const [invalid] = validate(schema, document, undefined, { maxErrors: 1 });
  if (invalid) return { invalid: invalid.message };
  const operation = document.definitions.find((d) => d.kind === 'OperationDefinition');
  const { errors, coerced } = getVariableValues(schema, operation.variableDefinitions ?? [], variables, { maxErrors: 1 });
  if (errors) return { errors: errors[0].message };
  const found = {};
  const types = new TypeInfo(schema);
  visit(document, visitWithTypeInfo(types, {
    Field(node) {
      const definition = types.getFieldDef();
      if (!definition?.args.length) return;
      const { line, column } = getLocation(node.loc.source, node.loc.start);
      try {
        found[`${line}:${column}`] = getArgumentValues(definition, node, coerced);
      } catch {
        found[`${line}:${column}`] = null;
      }
    },
  }));
  return { coerced, arguments: found };
}

function answer(request) {
  try {
    return 'lex' in request ? lex(request.lex) : coerce(request);
  } catch (error) {
    return { invalid: String(error.message || error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(answer(JSON.parse(line))) + '\n');
}
