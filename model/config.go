package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
)

// config reads the fields of a config.json, or of an object in it, collects what is
// wrong with them, and remembers which were read: [config.leftovers] reports the rest.
type config struct {
	at       string // of an object inside, with its dot: "rope_parameters."
	fields   map[string]json.RawMessage
	read     map[string]bool
	problems *[]string
}

func newConfig(data []byte) (*config, error) {
	c := &config{read: map[string]bool{}, problems: new([]string)}
	return c, json.Unmarshal(data, &c.fields)
}

func (c *config) problem(key, format string, args ...any) {
	*c.problems = append(*c.problems, c.at+key+" "+fmt.Sprintf(format, args...))
}

// has tells whether a field is there and not null; the field counts as read.
func (c *config) has(key string) bool {
	c.read[key] = true
	raw, ok := c.fields[key]
	return ok && string(raw) != "null"
}

// null tells whether a field is there and null.
func (c *config) null(key string) bool {
	raw, ok := c.fields[key]
	return ok && string(raw) == "null"
}

func (c *config) decode(key string, into any) bool {
	if !c.has(key) {
		return false
	}
	if err := json.Unmarshal(c.fields[key], into); err != nil {
		c.problem(key, "is %.40s: wrong type", c.fields[key])
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

// object opens an object in the configuration: empty where there is none.
func (c *config) object(key string) *config {
	o := &config{at: c.at + key + ".", read: map[string]bool{}, problems: c.problems}
	c.decode(key, &o.fields)
	return o
}

// maxDimension bounds every size, so that products of three stay far from overflow.
const maxDimension = 1 << 20

// size reads a whole number from 1 to maxDimension; standard 0 means that it must be there.
func (c *config) size(key string, standard int) int {
	if !c.has(key) {
		if standard == 0 {
			c.problem(key, "is missing")
			return 1
		}
		return standard
	}
	var v float64
	if !c.decode(key, &v) {
		return 1
	}
	if v != math.Trunc(v) || v < 1 || v > maxDimension {
		c.problem(key, "is %v: a whole number from 1 to %d is needed", v, maxDimension)
		return 1
	}
	return int(v)
}

// positive reads a finite number above 0; standard 0 means that it must be there.
func (c *config) positive(key string, standard float64) float64 {
	if !c.has(key) && standard == 0 {
		c.problem(key, "is missing")
		return 1
	}
	v := standard
	if c.decode(key, &v) && !(v > 0 && v < 1e12) {
		c.problem(key, "is %v: a number above 0 and below 1e12 is needed", v)
		return max(standard, 1)
	}
	return v
}

// limit reads a positive number that may be switched off: 0 where the field is null,
// standard where it is missing.
func (c *config) limit(key string, standard float64) float64 {
	if c.null(key) || (standard == 0 && !c.has(key)) {
		c.read[key] = true
		return 0
	}
	return c.positive(key, standard)
}

// numbers reads a list of n finite numbers above 0.
func (c *config) numbers(key string, n int) []float64 {
	var list []float64
	if !c.has(key) {
		c.problem(key, "is missing")
		return nil
	}
	if !c.decode(key, &list) {
		return nil
	}
	if len(list) != n {
		c.problem(key, "has %d numbers where %d are needed", len(list), n)
		return nil
	}
	for _, v := range list {
		if !(v > 0 && v < 1e12) {
			c.problem(key, "holds %v: numbers above 0 and below 1e12 are needed", v)
			return nil
		}
	}
	return list
}

// refuse reports a field that asks for arithmetic which this program does not have.
func (c *config) refuse(key, remedy string) {
	if c.has(key) && string(c.fields[key]) != "false" {
		c.problem(key, "is %.60s: not supported, %s", c.fields[key], remedy)
	}
}

// only refuses a field unless it has its neutral value.
func (c *config) only(key string, neutral float64) {
	var v float64
	if c.decode(key, &v) && v != neutral {
		c.problem(key, "is %v: only %v is supported", v, neutral)
	}
}

// ignore marks fields that this family's arithmetic does not read.
func (c *config) ignore(keys ...string) {
	for _, key := range keys {
		c.read[key] = true
	}
}

// leftovers reports every field that nothing has read and that is not known to be
// neutral: it may change the arithmetic.
func (c *config) leftovers(neutral map[string]bool) {
	for _, key := range slices.Sorted(maps.Keys(c.fields)) {
		raw := string(c.fields[key])
		if c.read[key] || neutral[key] || raw == "null" || raw == "false" {
			continue
		}
		c.problem(key, "is %.60s: not known here (remove it if the model's arithmetic does not depend on it)", raw)
	}
}
