package moelora

import "alphalora/model"

// Roles tells the rows of each owned variable.
func (a *Adapter) Roles() [][]model.Rows {
	var list [][]model.Rows
	for _, v := range a.variables(a.Description) {
		switch v.role {
		case magnitude:
			list = append(list, []model.Rows{{Role: model.Magnitude, Count: v.shape[0]}})
		case up:
			list = append(list, []model.Rows{{Role: model.Expert, Count: v.shape[0]}})
		case down:
			experts := a.experts(v.layer, v.sites[0]) * len(v.sites) * a.Rank
			rows := []model.Rows{{Role: model.Expert, Count: experts}}
			if rest := v.shape[0] - experts; rest > 0 {
				rows = append(rows, model.Rows{Role: model.Routing, Count: rest})
			}
			list = append(list, rows)
		}
	}
	return list
}
