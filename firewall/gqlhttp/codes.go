package gqlhttp

// The refusal codes of DESIGN.md section 7, as clients see them in
// errors[].extensions.code.
const (
	CodeValidationFailed         = "GRAPHQL_VALIDATION_FAILED"
	CodeBadVariables             = "BAD_VARIABLES"
	CodeTokenLimit               = "TOKEN_LIMIT"
	CodeFragmentLimit            = "FRAGMENT_LIMIT"
	CodeValueLimit               = "VALUE_LIMIT"
	CodeComplexityLimit          = "COMPLEXITY_LIMIT"
	CodePersistedMismatch        = "PERSISTED_ID_MISMATCH"
	CodePersistedNotSupported    = "PERSISTED_QUERY_NOT_SUPPORTED"
	CodeSubscriptionNotSupported = "SUBSCRIPTION_NOT_SUPPORTED"
	CodeDepthLimit               = "DEPTH_LIMIT"
	CodeAliasLimit               = "ALIAS_LIMIT"
	CodeRootFieldLimit           = "ROOT_FIELD_LIMIT"
	CodeDirectiveLimit           = "DIRECTIVE_LIMIT"
	CodeCostLimit                = "COST_LIMIT"
	CodePageSize                 = "PAGE_SIZE"
	CodeBadRequest               = "BAD_REQUEST"
	CodeParseFailed              = "GRAPHQL_PARSE_FAILED"
	CodeCSRF                     = "CSRF"
	CodeBatchLimit               = "BATCH_LIMIT"
	CodeUnauthenticated          = "UNAUTHENTICATED"
	CodeForbidden                = "FORBIDDEN"
	CodeIntrospectionDisabled    = "INTROSPECTION_DISABLED"
	CodeOperationNotAllowed      = "OPERATION_NOT_ALLOWED"
	CodePersistedNotFound        = "PERSISTED_QUERY_NOT_FOUND"
	CodeNotFound                 = "NOT_FOUND"
	CodeMethodNotAllowed         = "METHOD_NOT_ALLOWED"
	CodeNotAcceptable            = "NOT_ACCEPTABLE"
	CodeRequestTimeout           = "REQUEST_TIMEOUT"
	CodeBodyLimit                = "BODY_LIMIT"
	CodeURLLimit                 = "URL_LIMIT"
	CodeUnsupportedMediaType     = "UNSUPPORTED_MEDIA_TYPE"
	CodeHeaderLimit              = "HEADER_LIMIT"
	CodeBudgetExceeded           = "BUDGET_EXCEEDED"
	CodeConcurrencyLimit         = "CONCURRENCY_LIMIT"
	CodeInternal                 = "INTERNAL"
	CodePolicyTimeout            = "POLICY_TIMEOUT"
	CodeUpstreamError            = "UPSTREAM_ERROR"
	CodeOverloaded               = "OVERLOADED"
	CodeUpstreamTimeout          = "UPSTREAM_TIMEOUT"
)

// Code is one row of the refusal table.
type Code struct {
	Name string
	// Status is the HTTP status under application/graphql-response+json, and
	// under application/json unless Legacy200 turns it into 200.
	Status int
	// Legacy200 marks refusals of well-formed GraphQL: clients that accept
	// application/json alone drop the body of anything but a 200.
	Legacy200 bool
	// Reportable marks the codes whose mode may be report or off. All others
	// always hold.
	Reportable bool
}

// Codes is the refusal table of DESIGN.md section 7, in its order. Read only.
var Codes = []Code{
	{CodeValidationFailed, 400, true, false},
	{CodeBadVariables, 400, true, false},
	{CodeTokenLimit, 400, true, false},
	{CodeFragmentLimit, 400, true, false},
	{CodeValueLimit, 400, true, false},
	{CodeComplexityLimit, 400, true, false},
	{CodePersistedMismatch, 400, true, false},
	{CodePersistedNotSupported, 400, true, false},
	{CodeSubscriptionNotSupported, 400, true, false},
	{CodeDepthLimit, 400, true, true},
	{CodeAliasLimit, 400, true, true},
	{CodeRootFieldLimit, 400, true, true},
	{CodeDirectiveLimit, 400, true, true},
	{CodeCostLimit, 400, true, true},
	{CodePageSize, 400, true, true},
	{CodeBadRequest, 400, false, false},
	{CodeParseFailed, 400, false, false},
	{CodeCSRF, 400, false, false},
	{CodeBatchLimit, 400, false, false},
	{CodeUnauthenticated, 401, false, false},
	{CodeForbidden, 403, true, true},
	{CodeIntrospectionDisabled, 403, true, true},
	{CodeOperationNotAllowed, 403, true, true},
	{CodePersistedNotFound, 404, true, false},
	{CodeNotFound, 404, false, false},
	{CodeMethodNotAllowed, 405, false, false},
	{CodeNotAcceptable, 406, false, false},
	{CodeRequestTimeout, 408, false, false},
	{CodeBodyLimit, 413, false, false},
	{CodeURLLimit, 414, false, false},
	{CodeUnsupportedMediaType, 415, false, false},
	{CodeHeaderLimit, 431, false, false},
	{CodeBudgetExceeded, 429, false, true},
	{CodeConcurrencyLimit, 429, false, true},
	{CodeInternal, 500, false, false},
	{CodePolicyTimeout, 500, false, false},
	{CodeUpstreamError, 502, false, false},
	{CodeOverloaded, 503, false, false},
	{CodeUpstreamTimeout, 504, false, false},
}

// Lookup returns the row of a code. A code that the table does not list is a
// policy's own: its row is FORBIDDEN's under that name, and ok is false.
func Lookup(code string) (row Code, ok bool) {
	at, ok := codeRows[code]
	if !ok {
		at = codeRows[CodeForbidden]
	}
	row = Codes[at]
	row.Name = code
	return row, ok
}

// codeRows are the positions of Codes.
var codeRows = func() map[string]int {
	rows := make(map[string]int, len(Codes))
	for i := range Codes {
		rows[Codes[i].Name] = i
	}
	return rows
}()

// StatusFor returns the HTTP status of a refusal. legacyOK is
// responses.legacy_status: ok; it turns the table's 200s on for a client that
// negotiated application/json.
func StatusFor(code string, accept Accept, legacyOK bool) int {
	row, _ := Lookup(code)
	if row.Legacy200 && legacyOK && accept == AcceptJSON {
		return 200
	}
	return row.Status
}
