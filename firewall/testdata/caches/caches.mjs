// Sends operations as Apollo Client and urql do and reads the answers from
// their normalised caches. Input: {url, sdl, subject, operations: [{name, query,
// variables}]}; output: one object for each client, cache (its own for the
// operation, or one for all) and operation.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { ApolloClient, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { loadDevMessages, loadErrorMessages } from "@apollo/client/dev";
import { Client, fetchExchange } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { buildSchema, introspectionFromSchema, isAbstractType } from "graphql";

loadDevMessages();
loadErrorMessages();
const { url, sdl, subject, operations } = JSON.parse(readFileSync(0, "utf8"));
const schema = buildSchema(sdl);
const possibleTypes = {};
for (const type of Object.values(schema.getTypeMap())) {
  if (isAbstractType(type)) possibleTypes[type.name] = schema.getPossibleTypes(type).map((t) => t.name);
}

let warnings = [];
for (const level of ["warn", "error", "debug"]) {
  console[level] = (...parts) => warnings.push(parts.join(" "));
}

// answers are the errors of the bodies as they came. spoil: a field is missing.
let answers = [];
const fetching = (spoil) => async (to, init) => {
  const response = await fetch(to, init);
  const body = JSON.parse(await response.text());
  answers.push(body);
  if (spoil) delete body.data[Object.keys(body.data).find((k) => k !== "__typename")];
  return new Response(JSON.stringify(body), { status: response.status, headers: response.headers });
};
const headers = { "X-Subject": subject };

function apollo(spoil) {
  const client = new ApolloClient({
    link: new HttpLink({ uri: url, headers, fetch: fetching(spoil) }),
    cache: new InMemoryCache({ possibleTypes }),
  });
  return async ({ query, variables }) => {
    const document = gql(query);
    const network = await client.query({ query: document, variables, fetchPolicy: "network-only", errorPolicy: "all" });
    const cached = await client.query({ query: document, variables, fetchPolicy: "cache-only", errorPolicy: "all" });
    const diff = client.cache.diff({ query: client.cache.transformDocument(document), variables, optimistic: false, returnPartialData: true });
    const errors = CombinedGraphQLErrors.is(network.error) ? network.error.errors : [];
    return { data: network.data ?? null, errors, cached: cached.data ?? null, outcome: diff.complete ? "hit" : "partial" };
  };
}

function urql(spoil) {
  const client = new Client({
    url, fetch: fetching(spoil), fetchOptions: { headers }, preferGetMethod: false,
    exchanges: [cacheExchange({ schema: introspectionFromSchema(schema), keys: { Wrap: () => null, Item: () => null } }), fetchExchange],
  });
  return async ({ query, variables }) => {
    const network = await client.query(query, variables, { requestPolicy: "network-only" }).toPromise();
    const cached = await client.query(query, variables, { requestPolicy: "cache-only" }).toPromise();
    const errors = network.error ? network.error.graphQLErrors.map((e) => ({ message: e.message, path: e.path, extensions: e.extensions })) : [];
    return { data: network.data ?? null, errors, cached: cached.data ?? null, outcome: cached.operation.context.meta?.cacheOutcome };
  };
}

const out = [];
async function run(client, cache, read, operation) {
  warnings = [];
  answers = [];
  const got = await read(operation);
  const plain = (v) => JSON.parse(JSON.stringify(v));
  const named = (v) => JSON.parse(JSON.stringify(v, (k, below) => (k === "__typename" ? undefined : below)));
  out.push({
    client, cache, operation: operation.name, requests: answers.length, warnings, outcome: got.outcome,
    same: isDeepStrictEqual(plain(got.data), plain(got.cached)),
    whole: isDeepStrictEqual(named(got.data), named(answers[0]?.data ?? null)),
    told: isDeepStrictEqual(plain(got.errors), answers[0]?.errors ?? []),
    errors: got.errors.length, data: got.data, cached: got.cached, answer: answers[0],
  });
}
for (const [name, make] of Object.entries({ apollo, urql })) {
  const shared = make(false);
  for (const operation of operations) {
    await run(name, "own", make(false), operation);
    await run(name, "shared", shared, operation);
  }
  await run(name, "spoiled", make(true), operations.find((o) => o.name === "masks"));
}
process.stdout.write(JSON.stringify(out));
process.exit(0);
