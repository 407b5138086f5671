package moelora

import (
	"alphalora/model"
)

// Counts are numbers of parameters.
type Counts struct {
	Trainable int         `json:"trainable"` // of the adapter
	Frozen    int         `json:"frozen"`    // of the base
	Sites     []SiteCount `json:"sites"`     // of every projection with its experts
}

// SiteCount is one projection's line.
type SiteCount struct {
	Layer     int    `json:"layer"`
	Site      string `json:"site"`
	Experts   int    `json:"experts"`
	Trainable int    `json:"trainable"` // experts · r · (in + out) + experts · in for the router
	Frozen    int    `json:"frozen"`    // in · out
}

// Count counts the parameters of an adapter on a base. The router of a layer with one
// expert counts, as in the published figures: the file holds it.
func Count(d model.Description, s Shape) Counts {
	var c Counts
	for _, spec := range d.Specs() {
		n := 1
		for _, dim := range spec.Shape {
			n *= dim
		}
		if !spec.Optional {
			c.Frozen += n
		}
	}
	for layer := range d.Layers {
		for _, site := range model.Sites() {
			in, out := d.SiteDims(site)
			row := SiteCount{Layer: layer, Site: site.String(), Frozen: in * out}
			if len(s.targeted([]model.Site{site})) > 0 {
				row.Experts = s.Experts[layer]
				row.Trainable = row.Experts * (s.Rank*(in+out) + in)
			}
			c.Trainable += row.Trainable
			c.Sites = append(c.Sites, row)
		}
	}
	return c
}
