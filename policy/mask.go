package policy

// Mask replaces the value of a denied position: a value of the policy's, or a
// function of the library that is applied to the value in the answer.
type Mask struct {
	// Value is the JSON to put in place; nil where Function is set.
	Value []byte
	// Function names one of the library's mask functions; "" for a value.
	Function string
	// Arguments are the function's, in order, as JSON.
	Arguments [][]byte
}

// Append appends the masked form of the JSON value to dst. null stays null under
// a function. An error means that the value does not fit the function: the
// position becomes null, with an error.
func (m *Mask) Append(dst, value []byte) ([]byte, error) {
	return append(dst, m.Value...), nil
}
