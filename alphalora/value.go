package alphalora

import (
	"encoding/json"
	"math"
)

// Value is a measured number, or none: NaN, which JSON writes as null.
type Value float64

// None is the value of what cannot be measured.
func None() Value { return Value(math.NaN()) }

// Known reports whether there is a value.
func (v Value) Known() bool { return !math.IsNaN(float64(v)) }

// MarshalJSON writes null for none.
func (v Value) MarshalJSON() ([]byte, error) {
	if !v.Known() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(v))
}

// UnmarshalJSON reads null as none.
func (v *Value) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*v = None()
		return nil
	}
	return json.Unmarshal(data, (*float64)(v))
}
