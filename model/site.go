package model

import (
	"fmt"

	"alphalora/internal/fault"
)

// Site is one of the seven projections of a decoder layer.
type Site int

// The seven projections, in the order of the forward pass.
const (
	Q Site = iota
	K
	V
	O
	Gate
	Up
	Down
	siteCount
)

var siteNames = [siteCount]string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

var siteModules = [siteCount]string{
	"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
	"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
}

// String is the projection's name in configurations, such as "q_proj".
func (s Site) String() string { return siteNames[s] }

// Module is the projection's path inside a layer, such as "self_attn.q_proj".
func (s Site) Module() string { return siteModules[s] }

// WeightName is the checkpoint's name of the projection's weight in a layer.
func (s Site) WeightName(layer int) string {
	return fmt.Sprintf("model.layers.%d.%s.weight", layer, s.Module())
}

// Sites lists the seven projections.
func Sites() []Site { return []Site{Q, K, V, O, Gate, Up, Down} }

// Groups lists the projections of a layer by the input that they share, in the order
// in which the decoder announces them to its [Delta].
func Groups() [][]Site { return [][]Site{{Q, K, V}, {O}, {Gate, Up}, {Down}} }

// ParseSite finds a projection by its name.
func ParseSite(name string) (Site, error) {
	for i, n := range siteNames {
		if n == name {
			return Site(i), nil
		}
	}
	return 0, fault.Input("target "+name, "use some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
		"no such projection")
}
