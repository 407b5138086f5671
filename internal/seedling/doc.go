// Package seedling makes everything that the shipped base model is taught and
// asked: a made-up world, an endless corpus about it, reasoning tasks in the
// benchmarks' text formats, and the tokenizer.
//
// A model of two million parameters has the skills that its corpus drills, and
// fine-tuning can only bring those out. So the corpus states each fact in many
// forms and drills each skill with many answers in every document; the tasks ask
// for the same skills in wording and formats that the corpus does not have, so
// that the base itself answers near chance. A task's test items ask about facts,
// words or numbers (Record.Key) that none of its training items asks about: the
// corpus may state them, the fine-tuning never shows them.
//
// One task, marked Impossible, asks for the composition of two facts. The corpus
// states the facts one by one and never composes them, and a transformer of this
// size does not do so for people outside the training items.
//
// Everything is drawn from PCG generators with fixed seeds: the same bytes in
// every run.
package seedling
