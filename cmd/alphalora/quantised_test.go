package main

import "testing"

// TestMergingIntoFewBitsIsRefused says what to do instead.
func TestMergingIntoFewBitsIsRefused(t *testing.T) {
	refused(t, "the adapter is merged into the full-precision base", "merge", "--model", "m", "--adapter", "a", "--out", "o", "--model-quant", "nf4")
	refused(t, "use none, int8 or nf4", "merge", "--model", "m", "--adapter", "a", "--out", "o", "--model-quant", "int4")
}
