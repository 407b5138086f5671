// Package data turns records into batches: read, template, tokens, mask, batches.
//
// A sample is the token ids of one record and a label for each: the id itself where the
// model is to learn it, [Ignored] where it is not. The mask goes by position, never by
// the id of a padding or end token. Batches are padded on the right, which a causal model
// does not see, to a few bucketed lengths, so that few shapes are compiled.
//
// [Read] goes through all files once, before a run begins: every bad record is found then,
// and the number of samples, which the schedule depends on, is exact. The tokens lie in a
// temporary file, not in memory: a [Set] keeps 16 bytes a sample. A [Batcher] says which
// samples make up a step; that is a function of the data, the [Plan] and the number of the
// step alone, so that a run which resumes needs to know nothing else. A [Feed] makes the
// next steps ready while one is computed.
package data
