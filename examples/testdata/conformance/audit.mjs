// Runs graphql-http's audits against a URL and prints a JSON object from audit id to {name, status}: ok, notice, warn or error.
import { auditServer } from 'graphql-http';

const url = process.argv[2];
// A GET must be one that no foreign web page can send (DESIGN.md section 6, CSRF): clients of a server with such a rule send this header.
const fetchFn = (input, init = {}) => fetch(input, { ...init, headers: { ...init.headers, 'graphql-require-preflight': '1' } });
const results = await auditServer({ url, fetchFn });
const out = {};
for (const r of results) out[r.id] = { name: r.name, status: r.status, reason: r.reason ?? '' };
console.log(JSON.stringify(out));
process.exit(0);
