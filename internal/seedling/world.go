package seedling

import (
	"math/rand/v2"
	"strings"
)

// Person is one inhabitant of the world with all that is known of them.
type Person struct {
	Name   string
	Female bool
	Home   string // one of World.Towns
	Job    string // one of World.Jobs
	Food   string // one of World.Foods
	Friend int    // index into World.People; friendship has no fixed point
}

// Noun is a made-up word for a thing of one kind.
type Noun struct {
	Word, Plural string
	Kind         string // one of Kinds
}

// World holds every name and every fact. It is the same in every run.
type World struct {
	People []Person
	Nouns  []Noun
	Towns  []string
	Jobs   []string
	Foods  []string
}

// Kinds of made-up nouns; the first two are living.
var Kinds = []string{"animal", "plant", "tool", "stone"}

const (
	peopleCount   = 40
	nounsPerKind  = 28
	largestAddend = 20
	worldSeed     = 20_260_101
)

var (
	jobs    = []string{"baker", "miller", "sailor", "teacher", "doctor", "singer", "painter", "farmer", "weaver", "hunter"}
	foods   = []string{"bread", "soup", "rice", "cheese", "fish", "cake", "beans", "honey", "plums", "nuts"}
	colours = []string{"red", "blue", "green", "white", "black", "yellow", "brown", "grey", "pink", "golden"}
	things  = []string{"lamp", "cup", "boat", "hat", "coat", "chair", "box", "bag", "kite", "drum", "bell", "rug"}
	goods   = []string{"shells", "coins", "apples", "eggs", "cards", "pears", "beads", "books", "buttons", "stamps"}
	verbs   = [][2]string{
		{"runs", "run"}, {"sleeps", "sleep"}, {"jumps", "jump"}, {"sings", "sing"}, {"swims", "swim"}, {"hides", "hide"},
		{"eats", "eat"}, {"waits", "wait"}, {"falls", "fall"}, {"walks", "walk"}, {"grows", "grow"}, {"plays", "play"},
	}
)

// NewWorld builds the world from its fixed seed.
func NewWorld() *World {
	r := newRand(worldSeed)
	coin := newCoiner(r)
	w := &World{Jobs: jobs, Foods: foods}
	for range 12 {
		w.Towns = append(w.Towns, capital(coin.word()))
	}
	friends := cycle(r, peopleCount)
	for i := range peopleCount {
		w.People = append(w.People, Person{
			Name: capital(coin.word()), Female: i%2 == 0,
			Home: pick(r, w.Towns), Job: pick(r, w.Jobs), Food: pick(r, w.Foods),
			Friend: friends[i],
		})
	}
	for range nounsPerKind {
		for _, kind := range Kinds {
			word := coin.word()
			w.Nouns = append(w.Nouns, Noun{Word: word, Plural: word + "s", Kind: kind})
		}
	}
	return w
}

// heldOut tells whether the i-th item of a list is reserved for the test splits.
func heldOut(i int) bool { return i%4 == 3 }

func (p Person) pronoun() string {
	if p.Female {
		return "she"
	}
	return "he"
}

// living tells whether a kind is one of the living ones.
func living(kind string) bool { return kind == Kinds[0] || kind == Kinds[1] }

// article puts "a" or "an" before a word.
func article(word string) string {
	if strings.ContainsRune("aeiou", rune(word[0])) {
		return "an " + word
	}
	return "a " + word
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// coiner makes pronounceable words, never the same twice.
type coiner struct {
	r    *rand.Rand
	seen map[string]bool
}

func newCoiner(r *rand.Rand) *coiner { return &coiner{r: r, seen: map[string]bool{}} }

var (
	onsets = []string{"b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "t", "v", "z", "br", "dr", "gl", "kr", "pl", "sk", "tr"}
	nuclei = []string{"a", "e", "i", "o", "u"}
	codas  = []string{"b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "v", "x"}
)

func (c *coiner) word() string {
	for {
		w := pick(c.r, onsets) + pick(c.r, nuclei) + pick(c.r, onsets[:13]) + pick(c.r, nuclei) + pick(c.r, codas)
		if !c.seen[w] {
			c.seen[w] = true
			return w
		}
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x5eed)) }

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// pickOther draws an element that differs from not; the list holds at least two values.
func pickOther(r *rand.Rand, list []string, not string) string {
	for {
		if s := pick(r, list); s != not {
			return s
		}
	}
}

// cycle returns a permutation of n that is one single cycle, so without fixed point.
func cycle(r *rand.Rand, n int) []int {
	order, next := r.Perm(n), make([]int, n)
	for i, p := range order {
		next[p] = order[(i+1)%n]
	}
	return next
}
