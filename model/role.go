package model

import "strings"

// Role is what a trained variable, or some of its rows, is for.
type Role string

// The roles: those of a model, then those of an adapter.
const (
	Projection Role = "projection" // a product's weight
	Norm       Role = "norm"       // a norm's scale
	Bias       Role = "bias"       // what is added to a projection
	Embedding  Role = "embedding"  // the table of tokens; a tied head is one with it
	Head       Role = "head"       // the weight that scores the vocabulary
	Expert     Role = "expert"     // A or B of a LoRA
	Routing    Role = "router"     // what chooses among experts
	Magnitude  Role = "magnitude"  // the lengths of a DoRA
)

// Roles lists the roles.
func Roles() []Role {
	return []Role{Projection, Norm, Bias, Embedding, Head, Expert, Routing, Magnitude}
}

// Rows are rows of a variable that follow each other and have one role.
type Rows struct {
	Role  Role
	Count int
}

// Roles tells the rows of each tensor that the model holds.
func (d Description) Roles() [][]Rows {
	var list [][]Rows
	for _, p := range d.held() {
		role := Norm
		switch {
		case p.Name == embedName:
			role = Embedding
		case p.Name == headName:
			role = Head
		case p.linear:
			role = Projection
		case strings.HasSuffix(p.Name, ".bias"):
			role = Bias
		}
		list = append(list, []Rows{{role, p.Shape[0]}})
	}
	return list
}
