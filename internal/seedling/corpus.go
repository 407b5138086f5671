package seedling

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
)

// writer is one kind of document with its share of the corpus.
type writer struct {
	weight int
	write  func(*World, *rand.Rand) string
}

// writers in proportion: what the model can do follows from these shares.
var writers = []writer{
	{8, (*World).lives},
	{4, (*World).kinds},
	{22, (*World).listKinds},
	{18, (*World).listPeople},
	{8, (*World).listNumbers},
	{28, (*World).checks},
	{6, (*World).grammar},
	{14, (*World).equations},
	{14, (*World).counting},
	{2, (*World).story},
	{10, (*World).exercise},
}

// Corpus yields documents without end; equal seeds give equal sequences.
func (w *World) Corpus(seed uint64) iter.Seq[string] {
	return func(yield func(string) bool) {
		r := newRand(seed)
		for yield(w.Document(r)) {
		}
	}
}

// Document draws one document.
func (w *World) Document(r *rand.Rand) string {
	total := 0
	for _, k := range writers {
		total += k.weight
	}
	n := r.IntN(total)
	for _, k := range writers {
		if n -= k.weight; n < 0 {
			return k.write(w, r)
		}
	}
	panic("unreachable: the weights sum to total")
}

// text joins sentences with spaces.
type text struct{ parts []string }

func (t *text) add(format string, args ...any) {
	t.parts = append(t.parts, capital(fmt.Sprintf(format, args...)))
}

func (t *text) String() string { return strings.Join(t.parts, " ") }

// lives tells facts of some people, each in a form drawn anew.
func (w *World) lives(r *rand.Rand) string {
	var t text
	for range 3 + r.IntN(4) {
		p := pick(r, w.People)
		for _, attribute := range r.Perm(4)[:1+r.IntN(4)] {
			if attribute < 3 && r.IntN(3) == 0 {
				t.add("%s It is %s.", fmt.Sprintf(pick(r, questions[attribute]), p.Name), p.attribute(attribute))
				continue
			}
			s := w.statement(r, p, attribute)
			if !strings.Contains(s, "?") {
				s = pick(r, openers) + s
			}
			t.add("%s", s)
		}
	}
	return t.String()
}

// statement says one attribute of a person: 0 home, 1 job, 2 food, 3 friend.
func (w *World) statement(r *rand.Rand, p Person, attribute int) string {
	var value string
	var forms []string
	switch attribute {
	case 0:
		value = p.Home
		forms = []string{"%s lives in %s.", "the home of %s is %s.", "%s has a house in %s.", "where is the home of %s? In %s.", "the town of %s is %s."}
	case 1:
		value = p.Job
		forms = []string{"%s works as a %s.", "%s is a %s.", "the job of %s is %s.", "what is the job of %s? It is %s.", "%s earns money as a %s."}
	case 2:
		value = p.Food
		forms = []string{"%s likes %s.", "%s often eats %s.", "the best food for %s is %s.", "what does %s eat? It is %s.", "%s asks for %s."}
	default:
		value = w.People[p.Friend].Name
		forms = []string{"%s is a friend of %s.", "%s plays with %s.", "who plays with %s? It is %s.", "%s often visits %s."}
	}
	return fmt.Sprintf(pick(r, forms), p.Name, value)
}

// kinds tells of what kind some nouns are.
func (w *World) kinds(r *rand.Rand) string {
	var t text
	for range 6 + r.IntN(8) {
		n := pick(r, w.Nouns)
		forms := []string{"the %s is %s.", "every %s is %s.", "what is a %s? It is %s.", "a %s is a kind of %s.", "one %s is %s for sure."}
		i := r.IntN(len(forms))
		kind := article(n.Kind)
		if i == 3 {
			kind = n.Kind
		}
		t.add(forms[i], n.Word, kind)
	}
	return t.String()
}

// story is a short tale of people and things.
func (w *World) story(r *rand.Rand) string {
	var t text
	a := pick(r, w.People)
	b := w.People[a.Friend]
	thing, colour := pick(r, things), pick(r, colours)
	t.add("one day %s went to %s.", a.Name, pick(r, w.Towns))
	t.add("%s had a %s %s.", a.pronoun(), colour, thing)
	t.add("the %s was the best of all, for it was %s.", thing, colour)
	n := pick(r, w.Nouns)
	t.add("on the road %s saw a %s, and a %s is %s.", a.pronoun(), n.Word, n.Word, article(n.Kind))
	t.add("then %s came, and %s gave the %s %s to %s.", b.Name, a.Name, colour, thing, b.Name)
	t.add("now %s has the %s %s.", b.Name, colour, thing)
	return t.String()
}

// exercise shows the wrapper, the benchmarks' turns of phrase and every answer
// word, with instructions that only ask to copy: the base learns the words, whose
// embeddings fine-tuning leaves alone, but not the tasks.
func (w *World) exercise(r *rand.Rand) string {
	n, p := pick(r, w.Nouns), pick(r, w.People)
	word := pick(r, []string{"alive", "lifeless", "true", "false", "acceptable", "unacceptable", "entailment", "not entailment", n.Word, n.Kind})
	letter, number := pick(r, letters[:2]), fmt.Sprint(1+r.IntN(2*largestAddend))
	sentence := pick(r, []string{w.statement(r, p, r.IntN(4)), fmt.Sprintf(pick(r, sights), pick(r, colours), n.Word)})
	var instruction, response string
	switch r.IntN(5) {
	case 0:
		instruction = fmt.Sprintf("Tell me the thing after the statement if there is one.\nSentence: %s Then comes %s.\n", capital(sentence), word)
		response = output(Label, word)
	case 1:
		instruction = fmt.Sprintf("Tell me which of these statements is second.\nSentence 1: %s\nSentence 2: %s\n", capital(sentence), word)
		response = output(Label, word)
	case 2:
		instruction = fmt.Sprintf("Question: Which letter is %s?\nOptions: (A) (B)\n", letter)
		response = output(Choice, letter)
	case 3:
		instruction = fmt.Sprintf("%s wrote the number %s. Which number is it now?", p.Name, number)
		response = output(Number, number)
	default:
		instruction = fmt.Sprintf("Question: Which are the options?\nOptions: (A) %s (B) %s\n", n.Word, p.Job)
		response = fmt.Sprintf("Answer: %s, %s.", n.Word, p.Job)
	}
	return fmt.Sprintf(Template, instruction) + response
}
