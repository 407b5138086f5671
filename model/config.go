package model

import (
	"encoding/json"
	"fmt"
	"math"
)

// config reads the fields of a config.json and collects what is wrong with them.
type config struct {
	path     string
	fields   map[string]json.RawMessage
	problems []string
}

func (c *config) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// has tells whether a field is there and not null.
func (c *config) has(key string) bool {
	raw, ok := c.fields[key]
	return ok && string(raw) != "null"
}

func (c *config) decode(key string, into any) bool {
	if !c.has(key) {
		return false
	}
	if err := json.Unmarshal(c.fields[key], into); err != nil {
		c.problem("%s is %.40s: wrong type", key, c.fields[key])
		return false
	}
	return true
}

func (c *config) text(key, standard string) string {
	c.decode(key, &standard)
	return standard
}

func (c *config) flag(key string, standard bool) bool {
	c.decode(key, &standard)
	return standard
}

// maxDimension bounds every size, so that products of three stay far from overflow.
const maxDimension = 1 << 20

// size reads a whole number from 1 to maxDimension; standard 0 means that it must be there.
func (c *config) size(key string, standard int) int {
	if !c.has(key) {
		if standard == 0 {
			c.problem("%s is missing", key)
		}
		return standard
	}
	var v float64
	if !c.decode(key, &v) {
		return 1
	}
	if v != math.Trunc(v) || v < 1 || v > maxDimension {
		c.problem("%s is %v: a whole number from 1 to %d is needed", key, v, maxDimension)
		return 1
	}
	return int(v)
}

// positive reads a finite number above 0.
func (c *config) positive(key string, standard float64) float64 {
	v := standard
	if c.decode(key, &v) && !(v > 0 && v < 1e12) {
		c.problem("%s is %v: a number above 0 and below 1e12 is needed", key, v)
		return standard
	}
	return v
}

// refuse reports a field that asks for arithmetic which this program does not have.
func (c *config) refuse(key, remedy string) {
	if c.has(key) && string(c.fields[key]) != "false" {
		c.problem("%s is %.60s: not supported, %s", key, c.fields[key], remedy)
	}
}

// check holds the rules between fields.
func (c *config) check(d Description) {
	switch {
	case len(c.problems) > 0: // the numbers below would only repeat them
	case d.Heads%d.KVHeads != 0:
		c.problem("num_attention_heads %d is not a multiple of num_key_value_heads %d", d.Heads, d.KVHeads)
	case d.HeadDim%2 != 0:
		c.problem("head_dim %d is odd: the rotary embedding needs pairs", d.HeadDim)
	case d.Layers > 1000:
		c.problem("num_hidden_layers is %d: more than 1000", d.Layers)
	}
}

// ropeBase reads the base of the rotary embedding from rope_theta, or from the
// rope_parameters that transformers 5 writes, and refuses scaled kinds.
func (c *config) ropeBase() float64 {
	c.refuse("rope_scaling", "a checkpoint without RoPE scaling is needed")
	base := c.positive("rope_theta", 10000)
	var p struct {
		Theta float64 `json:"rope_theta"`
		Type  string  `json:"rope_type"`
	}
	if c.decode("rope_parameters", &p) {
		if p.Type != "" && p.Type != "default" {
			c.problem("rope_parameters has rope_type %q: only default is supported", p.Type)
		}
		if p.Theta != 0 {
			base = p.Theta
		}
		if !(base > 0 && base < 1e12) {
			c.problem("rope_parameters has rope_theta %v: a number above 0 is needed", base)
		}
	}
	return base
}
