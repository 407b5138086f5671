package generate

import (
	"context"
	"slices"
)

// legs is [Generator.batch] of a model whose rows are rotated in another way once they
// are longer than a border: where a row crosses it, a leg ends, and all rows are read
// anew, their new tokens with them. Each token is so the one that follows the whole row
// before it, in whatever batch.
func (g *Generator) legs(ctx context.Context, prompts [][]int32, limit int, ends []int32) ([]Output, error) {
	border := g.model.RopeBorder()
	outputs := make([]Output, len(prompts))
	open := make([]int, len(prompts)) // rows that go on
	for i := range open {
		open[i] = i
	}
	for len(open) > 0 {
		rows, leg := make([][]int32, len(open)), limit-len(outputs[open[0]].IDs)
		for j, i := range open {
			rows[j] = slices.Concat(prompts[i], outputs[i].IDs)
			if n := len(rows[j]); n <= border {
				leg = min(leg, border-n+1)
			}
		}
		done, err := g.batch(ctx, rows, leg, ends)
		if err != nil {
			return nil, err
		}
		var still []int
		for j, i := range open {
			outputs[i].IDs, outputs[i].Finish = append(outputs[i].IDs, done[j].IDs...), done[j].Finish
			if done[j].Finish == AtLimit && len(outputs[i].IDs) < limit {
				still = append(still, i)
			}
		}
		open = still
	}
	return outputs, nil
}
