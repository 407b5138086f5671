package seedling

import (
	"fmt"
	"math/rand/v2"
)

// Format says how an answer is read: a letter, a label or a number.
type Format string

// The three answer formats of the benchmarks.
const (
	Choice Format = "choice"
	Label  Format = "label"
	Number Format = "number"
)

// Record is one item in the benchmarks' text format.
type Record struct {
	Instruction string `json:"instruction"`
	Input       string `json:"input"`
	Output      string `json:"output"`
	// Answer is the gold answer: one of the task's Answers.
	Answer string `json:"answer"`
	// Key names the fact or the numbers asked about.
	Key string `json:"-"`
}

// Task is a set of records; no Key of Train is a Key of Test.
type Task struct {
	Name   string
	Format Format
	// Answers are the possible answers and Outputs the texts that give them.
	Answers []string
	// Impossible marks the one task that the base cannot learn.
	Impossible  bool
	Train, Test []Record
}

// Outputs returns the response text of every possible answer, in the order of Answers.
func (t Task) Outputs() []string {
	out := make([]string, len(t.Answers))
	for i, a := range t.Answers {
		out[i] = output(t.Format, a)
	}
	return out
}

const (
	trainCount = 2400
	testCount  = 200
	taskSeed   = 7
)

// output is the response text for an answer.
func output(f Format, answer string) string {
	switch f {
	case Choice:
		return "Answer: The answer is " + answer + "."
	case Number:
		return "The answer is: " + answer
	default:
		return "Answer: " + answer + "."
	}
}

// asker draws one record of a split. The want-th of the task's answers is to be
// gold where the task can choose (labels and letters), which balances them.
type asker func(r *rand.Rand, test bool, want int) Record

// Tasks makes all tasks.
func (w *World) Tasks() []Task {
	ab := []string{"A", "B"}
	tasks := []struct {
		Task
		ask asker
	}{
		{Task{Name: "kinds", Format: Label, Answers: []string{"alive", "lifeless"}}, w.askKind},
		{Task{Name: "members", Format: Choice, Answers: ab}, w.askMember},
		{Task{Name: "facts", Format: Label, Answers: []string{"true", "false"}}, w.askFact},
		{Task{Name: "people", Format: Choice, Answers: ab}, w.askPerson},
		{Task{Name: "larger", Format: Choice, Answers: ab}, w.askLarger},
		{Task{Name: "entails", Format: Label, Answers: []string{"entailment", "not entailment"}}, w.askEntails},
		{Task{Name: "grammar", Format: Label, Answers: []string{"acceptable", "unacceptable"}}, w.askGrammar},
		{Task{Name: "sums", Format: Number, Answers: numbers(1, 2*largestAddend)}, w.askSum},
		{Task{Name: "twohop", Format: Choice, Answers: ab, Impossible: true}, w.askTwoHop},
	}
	out := make([]Task, len(tasks))
	for i, t := range tasks {
		r := newRand(taskSeed + uint64(i))
		out[i] = t.Task
		out[i].Train = draw(r, t.Task, t.ask, false, trainCount)
		out[i].Test = draw(r, t.Task, t.ask, true, testCount)
	}
	return out
}

// draw makes n records, all different, with the wanted answers in turn.
func draw(r *rand.Rand, t Task, ask asker, test bool, n int) []Record {
	seen := map[string]bool{}
	var out []Record
	for tries := 0; len(out) < n && tries < 50*n; tries++ {
		rec := ask(r, test, len(out)%len(t.Answers))
		if !seen[rec.Instruction] {
			seen[rec.Instruction] = true
			rec.Output = output(t.Format, rec.Answer)
			out = append(out, rec)
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func numbers(from, to int) []string {
	var out []string
	for n := from; n <= to; n++ {
		out = append(out, fmt.Sprint(n))
	}
	return out
}

// index draws an index below n on the wanted side of the split.
func index(r *rand.Rand, n int, test bool) int {
	for {
		if i := r.IntN(n); heldOut(i) == test {
			return i
		}
	}
}

// noun draws a noun of the split whose kind satisfies ok. The split goes by the
// noun's number within its kind, so that every kind has the same share.
func (w *World) noun(r *rand.Rand, test bool, ok func(kind string) bool) Noun {
	for {
		n := w.Nouns[index(r, nounsPerKind, test)*len(Kinds)+r.IntN(len(Kinds))]
		if ok(n.Kind) {
			return n
		}
	}
}

// sights name a coloured thing.
var sights = []string{"I see the %s %s.", "This is a %s %s.", "There is one %s %s here.", "Show me the %s %s.", "We know this %s %s."}

func (w *World) askKind(r *rand.Rand, test bool, want int) Record {
	n := w.noun(r, test, func(kind string) bool { return living(kind) == (want == 0) })
	return Record{
		Instruction: "Tell me if the thing alive, lifeless.\nSentence: " + fmt.Sprintf(pick(r, sights), pick(r, colours), n.Word) + "\n",
		Answer:      []string{"alive", "lifeless"}[want], Key: n.Word,
	}
}

// askEntails asks whether a sentence about a thing follows from one that names
// it, which takes the thing's kind.
func (w *World) askEntails(r *rand.Rand, test bool, want int) Record {
	n := w.noun(r, test, func(string) bool { return true })
	kind := n.Kind
	if want == 1 {
		kind = pickOther(r, Kinds, n.Kind)
	}
	colour := pick(r, colours)
	forms := pick(r, [][2]string{
		{"I see a %s %s.", "I see a %s %s."},
		{"We found one %s %s.", "We found a %s %s."},
		{"There is a %s %s here.", "There is some %s %s here."},
	})
	return Record{
		Instruction: fmt.Sprintf("Tell me if the statements entailment, not entailment.\nSentence 1: "+forms[0]+"\nSentence 2: "+forms[1]+"\n",
			colour, n.Word, colour, kind),
		Answer: []string{"entailment", "not entailment"}[want], Key: n.Word,
	}
}

// options writes a question with two options, the right one at place want.
func options(question, right, wrong string, want int) Record {
	pair := [2]string{right, wrong}
	return Record{
		Instruction: fmt.Sprintf("Question: %s\nOptions: (A) %s (B) %s\n", question, pair[want], pair[1-want]),
		Answer:      letters[want],
	}
}

func (w *World) askMember(r *rand.Rand, test bool, want int) Record {
	right := w.noun(r, test, func(string) bool { return true })
	wrong := w.noun(r, test, func(kind string) bool { return kind != right.Kind })
	rec := options(fmt.Sprintf("Which of these is %s?", article(right.Kind)), right.Word, wrong.Word, want)
	rec.Key = right.Word
	return rec
}

// otherValue draws a value of the attribute that differs from not, with the
// frequency that it has among the people, so that no value tells the answer.
func (w *World) otherValue(r *rand.Rand, attribute int, not string) string {
	for {
		if v := pick(r, w.People).attribute(attribute); v != not {
			return v
		}
	}
}

func (w *World) askFact(r *rand.Rand, test bool, want int) Record {
	p := w.People[index(r, len(w.People), test)]
	attribute := r.IntN(3)
	value := p.attribute(attribute)
	if want == 1 {
		value = w.otherValue(r, attribute, value)
	}
	return Record{
		Instruction: "Tell me if the statement false, true.\nSentence: " + capital(pick(r, openers)+said(r, attributeForms[attribute], p.Name, value)) + ".\n",
		Answer:      []string{"true", "false"}[want], Key: p.Name,
	}
}

// questions ask for a person's home, job or food.
var questions = [][]string{
	{"Where does %s live?", "Which town does %s call home?"},
	{"What is the job of %s?", "What does %s do for money?"},
	{"What does %s like?", "Which food does %s want?"},
}

func (w *World) askPerson(r *rand.Rand, test bool, want int) Record {
	p := w.People[index(r, len(w.People), test)]
	attribute := r.IntN(3)
	right := p.attribute(attribute)
	question := pick(r, questions[attribute])
	rec := options(fmt.Sprintf(question, p.Name), right, w.otherValue(r, attribute, right), want)
	rec.Key = p.Name
	return rec
}

func (w *World) askTwoHop(r *rand.Rand, test bool, want int) Record {
	p := w.People[index(r, len(w.People), test)]
	friend := w.People[p.Friend]
	attribute := r.IntN(3)
	right := friend.attribute(attribute)
	wrong := w.otherValue(r, attribute, right)
	question := pick(r, [][]string{
		{"Where does the friend of %s live?", "Which town does the friend of %s call home?"},
		{"What is the job of the friend of %s?", "What does the friend of %s do for money?"},
		{"What does the friend of %s like?", "Which food does the friend of %s want?"},
	}[attribute])
	rec := options(fmt.Sprintf(question, p.Name), right, wrong, want)
	rec.Key = p.Name
	return rec
}

func (w *World) askLarger(r *rand.Rand, test bool, want int) Record {
	a, b := twoNumbers(r)
	for heldOutPair(a, b) != test {
		a, b = twoNumbers(r)
	}
	thing := pick(r, goods)
	rec := options("Which is more?", fmt.Sprintf("%d %s", max(a, b), thing), fmt.Sprintf("%d %s", min(a, b), thing), want)
	rec.Key = pairKey(a, b)
	return rec
}

// heldOutPair splits unordered pairs of numbers, one in four to the test.
func heldOutPair(a, b int) bool {
	return (min(a, b)*31+max(a, b)*17)%4 == 0
}

func pairKey(a, b int) string { return fmt.Sprintf("%d,%d", min(a, b), max(a, b)) }

func (w *World) askGrammar(r *rand.Rand, test bool, want int) Record {
	n, v := r.IntN(nounsPerKind), r.IntN(len(verbs))
	for heldOut(n+v) != test {
		n, v = r.IntN(nounsPerKind), r.IntN(len(verbs))
	}
	noun := w.Nouns[n*len(Kinds)]
	tail := pick(r, []string{"", " today", " at night", " in " + pick(r, w.Towns)})
	return Record{
		Instruction: "Tell me if the statement unacceptable, acceptable.\nSentence: " + capital(clause(r, noun, verbs[v], want == 0)) + tail + ".\n",
		Answer:      []string{"acceptable", "unacceptable"}[want], Key: noun.Word + " " + verbs[v][1],
	}
}

func (w *World) askSum(r *rand.Rand, test bool, _ int) Record {
	a, b := 1+r.IntN(largestAddend), 1+r.IntN(largestAddend)
	for heldOutPair(a, b) != test {
		a, b = 1+r.IntN(largestAddend), 1+r.IntN(largestAddend)
	}
	p, thing := pick(r, w.People), pick(r, goods)
	var problem string
	answer := a + b
	if r.IntN(2) == 0 {
		form := pick(r, []string{
			"%[1]s has %[2]d %[3]s. Then %[4]s finds %[5]d more. How many %[3]s does %[1]s have now?",
			"%[1]s bought %[2]d %[3]s. Later %[4]s bought %[5]d more. How many %[3]s are there?",
		})
		problem = fmt.Sprintf(form, p.Name, a, thing, p.pronoun(), b)
	} else {
		form := pick(r, []string{
			"%[1]s has %[2]d %[3]s. Then %[4]s loses %[5]d. How many %[3]s does %[1]s have now?",
			"%[1]s bought %[2]d %[3]s. Later %[4]s sold %[5]d. How many %[3]s are left?",
		})
		problem = fmt.Sprintf(form, p.Name, a+b, thing, p.pronoun(), b)
		answer = a
	}
	return Record{Instruction: "Question: " + problem + "\n", Answer: fmt.Sprint(answer), Key: pairKey(a, b)}
}
