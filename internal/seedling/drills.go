package seedling

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// The drills: each document asks many questions of one skill, because a small
// model gets a skill from the number of answers it had to predict. Their wording
// is kept apart from the tasks' wording.

var letters = []string{"A", "B", "C", "D"}

// labels draws n different labels for a list: the first letters in order, or
// words. A word is worth more as a training signal than a letter, since there are
// more to guess among; the way to look a label up is the same.
func labels(r *rand.Rand, n int) []string {
	if r.IntN(2) == 0 {
		return letters[:n]
	}
	words := pick(r, [][]string{colours, things, goods})
	out := make([]string, n)
	for i, at := range r.Perm(len(words))[:n] {
		out[i] = words[at]
	}
	return out
}

// listing writes the options with their labels, then the queries in any order.
func listing(r *rand.Rand, labels, options, queries []string) string {
	form := pick(r, []string{"%s %s", "(%s) %s"})
	parts := make([]string, len(options))
	for i, o := range options {
		parts[i] = fmt.Sprintf(form, labels[i], o)
	}
	r.Shuffle(len(queries), func(i, j int) { queries[i], queries[j] = queries[j], queries[i] })
	return strings.Join(parts, pick(r, []string{", ", " "})) + ": " + strings.Join(queries, ", ") + "."
}

// asked writes the query before two options and its label after them.
func asked(r *rand.Rand, query string, options [2]string) string {
	marks, right := labels(r, 2), r.IntN(2)
	form := pick(r, []string{"%s: %s %s, %s %s.%s %s.", "%s: (%s) %s (%s) %s.%s %s."})
	return fmt.Sprintf(form, query, marks[0], options[right], marks[1], options[1-right],
		pick(r, []string{"", " It is", "\nSo it is"}), marks[right])
}

// optionCount is two more often than not: with more, lookup comes late.
func optionCount(r *rand.Rand) int {
	return []int{2, 2, 2, 2, 3, 4}[r.IntN(6)]
}

// listKinds lists nouns of different kinds and asks for the label of each kind
// and of each word.
func (w *World) listKinds(r *rand.Rand) string {
	var t text
	for range 3 {
		if r.IntN(3) == 0 {
			a := pick(r, w.Nouns)
			b := w.noun(r, r.IntN(4) == 0, func(kind string) bool { return kind != a.Kind })
			t.parts = append(t.parts, asked(r, "the "+a.Kind, [2]string{a.Word, b.Word}))
			continue
		}
		n := optionCount(r)
		marks, words, queries := labels(r, n), make([]string, n), []string{}
		for i, k := range r.Perm(len(Kinds))[:n] {
			words[i] = w.Nouns[r.IntN(nounsPerKind)*len(Kinds)+k].Word
			queries = append(queries, Kinds[k]+" "+marks[i], words[i]+" "+marks[i])
		}
		t.parts = append(t.parts, listing(r, marks, words, queries))
	}
	return t.String()
}

// listPeople lists values of one attribute and asks for the label that fits each
// of some people.
func (w *World) listPeople(r *rand.Rand) string {
	var t text
	for range 3 {
		attribute, n := r.IntN(3), optionCount(r)
		if r.IntN(2) == 0 {
			p := pick(r, w.People)
			value := p.attribute(attribute)
			query := pick(r, []string{p.Name, fmt.Sprintf(pick(r, questions[attribute]), p.Name)})
			t.parts = append(t.parts, asked(r, query, [2]string{value, w.otherValue(r, attribute, value)}))
			continue
		}
		marks, values := labels(r, n), make([]string, n)
		var queries []string
		for i, at := range r.Perm(len(w.values(attribute)))[:n] {
			values[i] = w.values(attribute)[at]
			queries = append(queries, values[i]+" "+marks[i])
		}
		for _, at := range r.Perm(len(w.People)) {
			i := slices.Index(values, w.People[at].attribute(attribute))
			if i >= 0 && len(queries) < 5+n {
				queries = append(queries, w.People[at].Name+" "+marks[i])
			}
		}
		t.parts = append(t.parts, listing(r, marks, values, queries))
	}
	return t.String()
}

// attribute is the person's value: 0 home, 1 job, 2 food.
func (p Person) attribute(i int) string { return []string{p.Home, p.Job, p.Food}[i] }

// values lists what an attribute can be: 0 towns, 1 jobs, 2 foods.
func (w *World) values(attribute int) []string {
	return [][]string{w.Towns, w.Jobs, w.Foods}[attribute]
}

// listNumbers lists two numbers and asks which is more and which less.
func (w *World) listNumbers(r *rand.Rand) string {
	var t text
	for range 4 {
		a, b := twoNumbers(r)
		marks := labels(r, 2)
		large, small := marks[0], marks[1]
		if a < b {
			large, small = small, large
		}
		t.parts = append(t.parts, listing(r, marks, []string{fmt.Sprint(a), fmt.Sprint(b)}, []string{"more " + large, "less " + small}))
		t.add("%d is more than %d.", max(a, b), min(a, b))
	}
	return t.String()
}

// twoNumbers draws two different numbers from 1 to 60.
func twoNumbers(r *rand.Rand) (a, b int) {
	a, b = 1+r.IntN(2*largestAddend), 1+r.IntN(2*largestAddend-1)
	if b >= a {
		b++
	}
	return a, b
}

// checks judges claims about kinds and people by what is known of them: claims of
// two words, whole sentences, and conclusions from a sentence.
func (w *World) checks(r *rand.Rand) string {
	var t text
	for range 4 + r.IntN(3) {
		n, p, attribute := pick(r, w.Nouns), pick(r, w.People), r.IntN(3)
		kind, value, verdict := n.Kind, p.attribute(attribute), "yes"
		if r.IntN(2) == 0 {
			kind, value, verdict = pickOther(r, Kinds, kind), w.otherValue(r, attribute, value), "no"
		}
		var claim string
		switch r.IntN(6) {
		case 0:
			claim = n.Word + " " + kind
		case 1:
			claim = p.Name + " " + value
		case 2:
			claim = said(r, kindForms, n.Word, kind)
		case 3:
			colour := pick(r, colours)
			claim = fmt.Sprintf(pick(r, conclusions), colour, n.Word, colour, kind)
		default:
			claim = pick(r, openers) + said(r, attributeForms[attribute], p.Name, value)
		}
		t.parts = append(t.parts, claim+pick(r, []string{", ", ". Is it so? ", ".\nSo: "})+verdict+".")
	}
	return t.String()
}

// said fills a form with its two words.
func said(r *rand.Rand, forms []string, subject, value string) string {
	return fmt.Sprintf(pick(r, forms), subject, value)
}

var (
	openers        = []string{"", "", "we know that ", "I hear that ", "they say that ", "it is known that ", "everybody knows that "}
	kindForms      = []string{"the %s is one %s", "every %s is some %s", "a %s is a kind of %s", "this %s is our %s"}
	attributeForms = [][]string{
		{"%s lives in %s", "the home of %s is %s", "%s has a house in %s"},
		{"%s works as a %s", "the job of %s is %s", "%s is a %s"},
		{"%s likes %s", "%s often eats %s", "the best food for %s is %s"},
	}
	conclusions = []string{"with a %s %s comes a %s %s", "they found a %s %s, so they found a %s %s", "here is one %s %s, so there is one %s %s"}
)

// grammar judges sentences: agreement and word order.
func (w *World) grammar(r *rand.Rand) string {
	var t text
	for range 6 + r.IntN(4) {
		good := r.IntN(2) == 0
		noun := w.Nouns[r.IntN(nounsPerKind)*len(Kinds)]
		sentence := clause(r, noun, pick(r, verbs), good) + pick(r, []string{"", " today", " at night", " in " + pick(r, w.Towns)})
		verdict := "wrong"
		if good {
			verdict = "right"
		}
		t.add("%s. %s.", sentence, capital(verdict))
	}
	return t.String()
}

// clause writes "the NOUN VERB" with agreement, or with one of two faults.
func clause(r *rand.Rand, noun Noun, verb [2]string, good bool) string {
	word, number := noun.Word, 0
	if r.IntN(2) == 0 {
		word, number = noun.Plural, 1
	}
	opener := pick(r, []string{"often ", "sometimes ", "maybe "})
	determiner := pick(r, []string{"the", "my", "our"})
	switch {
	case good:
		return opener + determiner + " " + word + " " + verb[number]
	case r.IntN(2) == 0:
		return opener + determiner + " " + word + " " + verb[1-number]
	default:
		return opener + word + " " + determiner + " " + verb[number]
	}
}

// equations states sums and differences in shuffled order and changing words.
func (w *World) equations(r *rand.Rand) string {
	var t text
	for range 12 + r.IntN(6) {
		a, b := 1+r.IntN(largestAddend), 1+r.IntN(largestAddend)
		if r.IntN(2) == 0 {
			t.add(pick(r, []string{"%d and %d make %d.", "%d plus %d is %d.", "%d, then %d more: %d."}), a, b, a+b)
		} else {
			t.add(pick(r, []string{"%d without %d is %d.", "%d minus %d is %d.", "from %d take %d: %d."}), a+b, b, a)
		}
	}
	return t.String()
}

// counting tells sums and differences of goods, as stories and as problems.
func (w *World) counting(r *rand.Rand) string {
	var t text
	for range 3 + r.IntN(3) {
		p, thing := pick(r, w.People), pick(r, goods)
		a, b := 1+r.IntN(largestAddend), 1+r.IntN(largestAddend)
		first, last := a, a+b
		change := pick(r, []string{"got %d more", "finds %d more", "bought %d more", "found %d more"})
		if r.IntN(2) == 0 {
			first, last = a+b, a
			change = pick(r, []string{"gave away %d", "loses %d", "sold %d", "lost %d"})
		}
		change = fmt.Sprintf(change, b)
		switch r.IntN(3) {
		case 0:
			t.add("%s had %d %s and %s, so %s had %d.", p.Name, first, thing, change, p.pronoun(), last)
		case 1:
			t.add("%s has %d %s. Later %s %s. Now there are %d %s left.", p.Name, first, thing, p.pronoun(), change, last, thing)
		default:
			t.add("%s bought %d %s, then %s %s. How many %s does %s have?\nIt is %d.", p.Name, first, thing, p.pronoun(), change, thing, p.Name, last)
		}
	}
	return t.String()
}
