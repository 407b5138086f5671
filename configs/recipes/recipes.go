// Package recipes holds ready-made runs: the paper's setting for its three models and seven
// tasks, the same for cards of 24 GB, and runs of the small model that the program carries.
//
// A recipe is composed: a base file, and settings of its model, its task and its card over
// it, as --set puts them over a file. What a user gets is one complete file, in which every
// key stands ([Recipe.Run], then [configs.Run.YAML]).
package recipes

import (
	_ "embed"
	"fmt"
	"strings"

	"alphalora/configs"
	"alphalora/internal/fault"
)

//go:embed paper.yaml
var paper []byte

//go:embed seedling.yaml
var seedling []byte

// Recipe is a run with a name.
type Recipe struct {
	Name     string
	About    string   // what it trains on what, in one line
	Shape    string   // the model's, by a name of `bench`; empty for the shipped one
	Before   []string // commands that bring what it needs
	After    []string // commands that use what it made
	base     []byte
	settings []string // key=value
}

// Run is the recipe's run.
func (r Recipe) Run() (configs.Run, error) { return configs.Parse(r.Name, r.base, r.settings) }

// base model, in whose directory the user has put the weights.
type base struct {
	name, title string
	small       []string // what else a card of 24 GB needs
}

var bases = []base{
	{"llama-2-7b", "Llama-2-7B", nil},
	{"mistral-7b", "Mistral-7B", nil},
	{"gemma-7b", "Gemma-7B", []string{"allocation.experts=80"}}, // its 8.5 billion weights leave less room
}

// task to learn, and what asks for it afterwards.
type task struct {
	name, title string
	before      string // makes its file of official ones
	file        string // below benchmarks
	evaluate    string // benchmarks, the flag --benchmark of eval
}

var tasks = append(direct(), task{"math", "MetaMathQA",
	`jq -c '.[] | {instruction: .query, output: .response}' MetaMathQA-395K.json > benchmarks/metamath.jsonl`,
	"metamath.jsonl", "gsm8k,svamp,addsub,multiarith"})

// direct are the six benchmarks that have training data of their own.
func direct() (list []task) {
	for _, t := range [][2]string{{"mrpc", "MRPC"}, {"cola", "CoLA"}, {"rte", "RTE"},
		{"scienceqa", "ScienceQA"}, {"commonsenseqa", "CommonsenseQA"}, {"openbookqa", "OpenBookQA"}} {
		list = append(list, task{t[0], t[1], "alphalora data prepare " + t[0] + " --download --out benchmarks", t[0] + "/train.json", t[0]})
	}
	return list
}

// All lists the recipes: the paper's, those for smaller cards, those of the shipped model.
func All() []Recipe {
	var full, small []Recipe
	for _, b := range bases {
		for _, t := range tasks {
			full = append(full, compose(b, t, "", nil))
			small = append(small, compose(b, t, "-24gb", append([]string{"training.micro_batch=1"}, b.small...)))
		}
	}
	return append(append(full, small...), ofSeedling("seedling", "all its tasks, as the demo"),
		ofSeedling("seedling-quick", "all its tasks, a minute or two", "training.steps=200"),
		ofSeedling("seedling-uniform", "all its tasks, as many experts in each layer", "allocation.strategy=uniform"))
}

// compose is the paper's setting of a model and a task.
func compose(b base, t task, suffix string, more []string) Recipe {
	name := b.name + "-" + t.name + suffix
	r := Recipe{Name: name, About: b.title + " on " + t.title + ", the paper's setting", Shape: b.name, base: paper}
	if suffix != "" {
		r.About = b.title + " on " + t.title + ", for a card of 24 GB"
	}
	r.Before = []string{t.before}
	r.After = []string{fmt.Sprintf("alphalora eval --model models/%s --adapter runs/%s/adapter --benchmark %s --data benchmarks", b.name, name, t.evaluate)}
	r.settings = append([]string{"model=models/" + b.name, "output=runs/" + name, "data.train=[benchmarks/" + t.file + "]"}, more...)
	return r
}

func ofSeedling(name, about string, more ...string) Recipe {
	return Recipe{Name: name, About: "the shipped model on " + about, base: seedling,
		Before:   []string{"alphalora demo --steps 1 --items 1 --out runs/demo"},
		After:    []string{"alphalora generate --model runs/demo/base --adapter runs/" + name + "/adapter --prompt 'Below is an instruction'"},
		settings: append([]string{"output=runs/" + name}, more...)}
}

// Named finds a recipe.
func Named(name string) (Recipe, error) {
	var names []string
	for _, r := range All() {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return Recipe{}, fault.Input(fmt.Sprintf("recipe %q", name), "alphalora recipes lists them",
		"there is none of this name, the %d are %s", len(names), strings.Join(names, ", "))
}
