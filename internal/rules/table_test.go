// Package rules holds the project to its design: which package may import which, which
// library belongs to which room, and what no file may carry. Each rule gives its
// reason, and the test prints it where the rule is broken.
//
// A new package needs a row in rooms; a rule that stands in the way of a better idea
// is changed here, with its reason.
package rules

import (
	"fmt"
	"slices"
	"strings"
)

// module is the path that the project's own imports begin with.
const module = "alphalora/"

// room is a package and the packages of the project that it may import, besides
// itself and commons.
type room struct {
	path string
	may  []string
	why  string
}

// commons may be imported by every room.
var commons = []string{"internal/fault", "internal/atomicfile"}

// anything stands for every package of the project.
const anything = "*"

var rooms = []room{
	{"cmd/alphalora", []string{anything}, "cmd joins the parts"},
	{"configs", []string{"alphalora", "moelora", "model", "model/quant", "train", "train/data", "eval", "eval/benchmark"},
		"a configuration is composed of the packages' own Config types, and knows nothing of verbs, engines or pages"},
	{"configs/recipes", []string{"configs"}, "a recipe is a configuration and nothing else"},
	{"train", []string{"model", "model/nn", "model/quant", "model/weights", "model/tokenizer", "moelora", "train/data", "eval/benchmark", "internal/engine"},
		"the recipe joins model, adapter and data; how results are scored or configured is not its business"},
	{"train/data", []string{"model/tokenizer", "model/tokenizer/chat", "internal/alpaca", "internal/parquetfile"},
		"data turns records into batches of tokens, and knows no model"},
	{"eval", []string{"model", "model/nn", "model/generate", "model/tokenizer", "moelora", "eval/benchmark", "internal/alpaca", "internal/engine"},
		"evaluation runs a finished model; it never trains and never configures"},
	{"eval/benchmark", []string{"internal/alpaca", "internal/parquetfile"},
		"a benchmark is text in, text out: a leaf that can be read and tested alone"},
	{"moelora", []string{"model", "model/nn", "model/weights", "internal/engine"},
		"the adapter hangs on the model's sites; the model never knows it"},
	{"model", []string{"model/nn", "model/weights", "model/quant", "internal/engine"},
		"the decoder knows nothing of adapters, training or text: they reach it through the seam"},
	{"model/nn", nil, "graph primitives are formulas over nodes"},
	{"model/weights", nil, "a file format is a leaf"},
	{"model/quant", nil, "storing numbers in few bits is a leaf"},
	{"model/tokenizer", []string{"model/tokenizer/chat"}, "text to tokens knows no model; conversations are written by chat"},
	{"model/tokenizer/chat", nil, "a chat template is text in, text out"},
	{"model/generate", []string{"model", "model/nn", "internal/engine"},
		"decoding needs a model and its seam, whatever hangs on it"},
	{"alphalora", []string{"internal/engine", "alphalora/symeig"},
		"spectra and allocation are numbers in, integers out: they know no model"},
	{"alphalora/symeig", nil, "eigenvalues of plain numbers are a leaf"},
	{"internal/serve", []string{"model/generate", "model/tokenizer"}, "a server turns requests into prompts of a pool; which model runs where is cmd's to say"},
	{"internal/engine", nil, "the engine is below everything that uses it"},
	{"internal/report", nil, "pages are drawn from plain values"},
	{"internal/tensorboard", nil, "an event file is names, steps and numbers"},
	{"internal/alpaca", nil, "one template, shared by training and evaluation"},
	{"internal/seedling", []string{"internal/alpaca"}, "the shipped world is written by a generator that knows no model"},
	{"internal/fault", nil, "the kinds of error are below everything"},
	{"internal/atomicfile", nil, "writing a file whole is below everything"},
	{"internal/parquetfile", nil, "opening a stranger's file within bounds is a leaf"},
	{"internal/testkit", []string{anything}, "the kit makes tiny models and tokenizers for every test"},
	{"internal/rules", nil, "the rules stand outside of what they judge"},
	{"scripts/plugin", []string{"internal/engine"}, "the set-up checks a plugin as the program will open it"},
	{"scripts/seedling", []string{"configs", "internal/seedling", "internal/atomicfile", "model/tokenizer"}, "the small model is pretrained from a corpus, a tokenizer and a configuration"},
	{"scripts/testsum", nil, "counting tests needs nothing of the project"},
}

// library is a foreign package and the rooms that may import it, or nobody.
type library struct {
	prefix string
	may    []string
	why    string
}

var libraries = []library{
	{"github.com/gomlx/gomlx/backends", nil, "it downloads plugins while the program runs"},
	{"github.com/gomlx/go-xla/compute/xla/autoinstall", nil, "it downloads plugins while the program runs"},
	{"github.com/gomlx/gomlx/ml/model/checkpoint", nil, "it is not atomic and swallows write errors: train writes its own checkpoints"},
	{"github.com/gomlx/go-xla", []string{"internal/engine", "scripts/plugin"}, "which backend runs is the engine's business alone"},
	{"github.com/gomlx/compute/gobackend", []string{"internal/engine"}, "which backend runs is the engine's business alone"},
	{"k8s.io/klog", []string{"internal/engine", "scripts/plugin"}, "the program tells things by errors and by cmd, not by a log"},
	{"github.com/gomlx/gomlx", []string{"cmd/alphalora", "train", "eval", "moelora", "model", "model/nn", "model/generate", "alphalora", "internal/engine", "internal/testkit"},
		"graphs are built where the mathematics is; formats, text and pages need none"},
	{"github.com/daulet/tokenizers", []string{"model/tokenizer"}, "one package owns the foreign tokenizer's memory"},
	{"github.com/ardanlabs/jinja", []string{"model/tokenizer/chat"}, "templates run within bounds, which one package keeps"},
	{"github.com/spf13/cobra", []string{"cmd/alphalora"}, "only cmd knows flags"},
	{"github.com/schollz/progressbar", []string{"cmd/alphalora"}, "only cmd knows terminals"},
	{"golang.org/x/term", []string{"cmd/alphalora"}, "only cmd knows terminals"},
	{"github.com/prometheus/client_golang", []string{"internal/serve"}, "only the server tells metrics"},
	{"github.com/goccy/go-yaml", []string{"configs"}, "one strict decoder reads every configuration"},
	{"github.com/parquet-go/parquet-go", []string{"internal/parquetfile", "eval/benchmark", "train/data"}, "a foreign table is read where its records are understood"},
	{"github.com/klauspost/compress", []string{"internal/parquetfile"}, "a stranger's page is unpacked in the one place that bounds it"},
	{"github.com/andybalholm/brotli", []string{"internal/parquetfile"}, "a stranger's page is unpacked in the one place that bounds it"},
	{"github.com/pierrec/lz4", []string{"internal/parquetfile"}, "a stranger's page is unpacked in the one place that bounds it"},
	{"github.com/gomlx/go-huggingface", []string{"cmd/alphalora"}, "nothing is downloaded but by a verb that was told to"},
	{"google.golang.org/protobuf", []string{"internal/tensorboard"}, "one package writes a protocol of TensorFlow's"},
	{"gonum.org/v1/plot", []string{"internal/report"}, "only the report draws"},
}

// aliases are the names under which packages of gomlx that share a name with ours
// must be imported.
var aliases = map[string]string{
	"github.com/gomlx/gomlx/ml/model": "mlmodel",
	"github.com/gomlx/gomlx/ml/train": "mltrain",
}

// longest is the number of lines that a file of code may have, tests aside.
const longest = 500

// within tells whether path is prefix or lies below it.
func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// judge returns why the package from must not import path, or "". alias is the name
// given to the import, or "".
func judge(from, path, alias string, inTest bool) string {
	if want, ok := aliases[path]; ok && alias != want {
		return fmt.Sprintf("import it as %s: it shares its name with a package of ours", want)
	}
	if own, ok := strings.CutPrefix(path, module); ok {
		return judgeOwn(from, own, inTest)
	}
	if inTest {
		return ""
	}
	for _, lib := range libraries {
		if within(path, lib.prefix) {
			if slices.Contains(lib.may, from) {
				return ""
			}
			return lib.why
		}
	}
	return ""
}

func judgeOwn(from, to string, inTest bool) string {
	if to == "internal/testkit" && !inTest {
		return "the test kit is for tests"
	}
	if inTest || to == from || slices.Contains(commons, to) {
		return ""
	}
	for _, r := range rooms {
		if r.path == from {
			if slices.Contains(r.may, to) || slices.Contains(r.may, anything) {
				return ""
			}
			return r.why
		}
	}
	return "the package has no row in internal/rules: write it one, with its reason"
}

// hasRoom tells whether the package has a row.
func hasRoom(path string) bool {
	return slices.ContainsFunc(rooms, func(r room) bool { return r.path == path })
}
