package moelora

import (
	"slices"

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
	Trainable int    `json:"trainable"` // experts · r · (in + out), experts · in for the router
	Frozen    int    `json:"frozen"`    // in · out
}

// Count counts the parameters of an adapter on a base. The router of a layer with one
// expert counts, as in the published figures, where the file holds it.
func Count(d model.Description, s Shape) Counts {
	c := Counts{Frozen: d.Parameters()}
	for layer := range d.Layers {
		for _, group := range model.Groups() {
			sites := s.targeted(group)
			for _, site := range group {
				in, out := d.SiteDims(site)
				row := SiteCount{Layer: layer, Site: site.String(), Frozen: in * out}
				if at := slices.Index(sites, site); at >= 0 {
					row.Experts = s.experts(layer, site)
					row.Trainable = row.Experts * s.Rank * (in + out)
					if at < s.routers(layer, sites) || s.idles(layer) {
						row.Trainable += row.Experts * in
					}
					if s.Kind.Magnitude && row.Experts > 0 {
						row.Trainable += out
					}
				}
				c.Trainable += row.Trainable
				c.Sites = append(c.Sites, row)
			}
		}
	}
	return c
}
