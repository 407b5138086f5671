package model

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"alphalora/internal/fault"
)

// Family turns the config.json of its checkpoints into a [Description].
type Family struct {
	ModelType string // config.json's model_type
	Describe  func(c *config) Description
}

// families is the table: to support another one, write its file and add its row.
var families = []Family{
	llama,
	mistral,
	gemma,
	gemma2,
	gemma3,
	qwen2,
	qwen3,
	phi3,
}

// Families lists the model types that can be read.
func Families() []string {
	names := make([]string, len(families))
	for i, f := range families {
		names[i] = f.ModelType
	}
	return names
}

// maxConfigBytes bounds a config.json: real ones have a few kilobytes.
const maxConfigBytes = 1 << 20

// ReadDescription reads the config.json of a model directory. A field that is missing,
// out of range, or that asks for arithmetic which the family does not have is an error,
// and so is one that is not known; all of them come together.
func ReadDescription(dir string) (Description, error) {
	path := filepath.Join(dir, "config.json")
	info, err := os.Stat(path)
	if err != nil {
		return Description{}, fault.Input(path, "give a directory in Hugging Face layout", "cannot be read: %v", fault.Reason(err))
	}
	if info.Size() > maxConfigBytes {
		return Description{}, fault.Input(path, "is this a model's config.json?", "%d bytes are more than the %d allowed", info.Size(), maxConfigBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Description{}, fmt.Errorf("%s: %w", path, err)
	}
	return ParseDescription(path, data)
}

// ParseDescription is [ReadDescription] of the bytes of a config.json; path is named in errors.
func ParseDescription(path string, data []byte) (Description, error) {
	c, err := newConfig(data)
	if err != nil {
		return Description{}, fault.Input(path, "download it again", "is not a JSON object: %v", err)
	}
	kind := c.text("model_type", "")
	i := slices.IndexFunc(families, func(f Family) bool { return f.ModelType == kind })
	if i < 0 {
		return Description{}, fault.Input(path, "supported: "+strings.Join(Families(), ", "), "model_type %.60q is not supported", kind)
	}
	d := families[i].Describe(c)
	d.Family = kind
	c.refuse("quantization_config", "use the unquantised checkpoint")
	c.refuse("use_bidirectional_attention", "a model that generates looks back only")
	c.only("pretraining_tp", 1)
	c.leftovers(neutral)
	c.check(d)
	if problems := *c.problems; len(problems) > 0 {
		if more := len(problems) - maxProblems; more > 0 {
			problems = append(problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", more))
		}
		return Description{}, fault.Input(path, "mend or replace config.json", "%s", strings.Join(problems, "; "))
	}
	return d, nil
}

// maxProblems bounds how many problems one error tells.
const maxProblems = 20

// standard holds what a family takes for fields that are missing.
type standard struct {
	kvHeads    int // 0: as many as query heads
	headDim    int // 0: hidden_size / num_attention_heads
	context    int
	normEps    float64
	activation string // the field that names it
	act        string
	tied       bool
}

// decoder reads the fields that all families have, and describes a plain decoder.
func (c *config) decoder(s standard) Description {
	d := Description{
		Vocabulary:   c.size("vocab_size", 0),
		Hidden:       c.size("hidden_size", 0),
		Layers:       c.size("num_hidden_layers", 0),
		Heads:        c.size("num_attention_heads", 0),
		Intermediate: c.size("intermediate_size", 0),
		Context:      c.size("max_position_embeddings", s.context),
		NormEps:      c.positive("rms_norm_eps", s.normEps),
		EmbedScale:   1,
		Tied:         c.flag("tie_word_embeddings", s.tied),
	}
	if s.kvHeads == 0 || c.null("num_key_value_heads") {
		s.kvHeads = d.Heads
	}
	d.KVHeads = c.size("num_key_value_heads", s.kvHeads)
	if s.headDim == 0 || c.null("head_dim") {
		s.headDim = max(d.Hidden/d.Heads, 1)
		if !c.has("head_dim") && d.Hidden%d.Heads != 0 {
			c.problem("hidden_size", "%d is not a multiple of num_attention_heads %d", d.Hidden, d.Heads)
		}
	}
	d.HeadDim = c.size("head_dim", s.headDim)
	d.AttentionScale = 1 / math.Sqrt(float64(d.HeadDim))
	name, known := c.text(s.activation, s.act), false
	if d.Activation, known = activations[name]; !known {
		c.problem(s.activation, "is %.40q: not supported, use silu, gelu or gelu_pytorch_tanh", name)
	}
	return d
}

// check holds the rules between fields.
func (c *config) check(d Description) {
	if len(*c.problems) > 0 { // the numbers below would only repeat them
		return
	}
	if d.Heads%d.KVHeads != 0 {
		c.problem("num_attention_heads", "%d is not a multiple of num_key_value_heads %d", d.Heads, d.KVHeads)
	}
	if d.HeadDim%2 != 0 {
		c.problem("head_dim", "%d is odd: the rotary embedding needs pairs", d.HeadDim)
	}
	if d.Layers > maxLayers {
		c.problem("num_hidden_layers", "is %d: more than %d", d.Layers, maxLayers)
	}
	if n := d.parameters(); n > maxParameters {
		c.problem("num_hidden_layers", "%d and the other sizes lead to %.2g parameters: more than %.0g", d.Layers, n, maxParameters)
	}
}

const (
	maxLayers     = 1000
	maxParameters = 1e13 // ten times the largest decoders
)

// parameters estimates their number, embedding and projections alone, without overflow.
func (d Description) parameters() float64 {
	n := float64(d.Vocabulary) * float64(d.Hidden)
	for _, site := range Sites() {
		in, out := d.SiteDims(site)
		n += float64(d.Layers) * float64(in) * float64(out)
	}
	return n
}

// windowed gives the layers that slide a window, or all where layers is nil; 0 for none.
func (c *config) windowed(layers, window int, slides []bool) []int {
	windows, some := make([]int, min(layers, maxLayers)), false
	for i := range windows {
		if slides == nil || (i < len(slides) && slides[i]) {
			windows[i], some = window, true
		}
	}
	switch {
	case !some:
		return nil
	case window == 0 && slides != nil:
		c.problem("sliding_window", "is not set, but layers slide one")
	case window == 0:
		return nil
	}
	return windows
}

// layerTypes reads which layers slide a window; standard says so where the field is missing.
func (c *config) layerTypes(layers int, standard func(layer int) bool) []bool {
	slides := make([]bool, min(layers, maxLayers))
	if !c.has("layer_types") {
		for i := range slides {
			slides[i] = standard(i)
		}
		return slides
	}
	var types []string
	if c.decode("layer_types", &types) && len(types) != layers {
		c.problem("layer_types", "has %d entries for %d layers", len(types), layers)
	}
	for i, name := range types {
		switch {
		case name == "sliding_attention" && i < len(slides):
			slides[i] = true
		case name != "sliding_attention" && name != "full_attention":
			c.problem("layer_types", "holds %.40q: use full_attention or sliding_attention", name)
			return slides
		}
	}
	return slides
}
