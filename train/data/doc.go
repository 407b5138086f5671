// Package data turns records into batches: read, template, tokens, mask, batches.
//
// A sample is the token ids of one record and a label for each: the id itself where the
// model is to learn it, [Ignored] where it is not. The mask goes by position, never by
// the id of a padding or end token. Batches are padded on the right, which a causal model
// does not see, to a few bucketed lengths, so that few shapes are compiled.
package data
