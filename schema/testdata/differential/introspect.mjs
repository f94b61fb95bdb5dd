// Prints the introspection result of the SDL file that is named.
import { readFileSync } from 'node:fs';
import { buildSchema, introspectionFromSchema } from 'graphql';

const schema = buildSchema(readFileSync(process.argv[2], 'utf8'));
const all = { specifiedByUrl: true, directiveIsRepeatable: true, schemaDescription: true, inputValueDeprecation: true, oneOf: true };
process.stdout.write(JSON.stringify({ data: introspectionFromSchema(schema, all) }, null, 1) + '\n');
