package data

import (
	"cmp"
	"slices"
)

// packed lays the samples of a step out in as few rows as they need. The step is the same
// as without packing, in fewer and fuller rows: nothing is learnt otherwise.
func (b *Batcher) packed(step []int32) ([]Batch, error) {
	length, rows := b.arrange(step)
	var batches []Batch
	for part := range slices.Chunk(rows, b.plan.Micro) {
		m := newBatch(b.plan.Micro, length)
		m.Segments = make([]int32, len(m.IDs))
		for row, numbers := range part {
			for _, i := range numbers {
				s, err := b.samples.Sample(int(i))
				if err != nil {
					return nil, err
				}
				m.put(row, int(i), s)
			}
		}
		batches = append(batches, m)
	}
	return batches, nil
}

// arrange chooses a length of rows and parts samples among them, so that the fewest
// positions are computed. The lengths to choose from are powers of two times 32 and the
// bucket of the plan's limit: few shapes, whatever the steps hold.
func (b *Batcher) arrange(step []int32) (length int, rows [][]int32) {
	sorted := slices.Clone(step)
	slices.SortStableFunc(sorted, func(i, j int32) int {
		return cmp.Compare(b.samples.Tokens(int(j)), b.samples.Tokens(int(i)))
	})
	longest := b.samples.Tokens(int(sorted[0]))
	limit := Bucket(max(b.plan.Pack, longest))
	cost := 0
	for candidate := 32; ; candidate *= 2 {
		candidate = min(candidate, limit)
		if candidate >= longest {
			parts := b.fit(sorted, candidate)
			micro := (len(parts) + b.plan.Micro - 1) / b.plan.Micro
			if now := micro * candidate; rows == nil || now < cost {
				length, rows, cost = candidate, parts, now
			}
		}
		if candidate == limit {
			return length, rows
		}
	}
}

// fit puts samples, the longest first, each into the first row that has room for it.
func (b *Batcher) fit(sorted []int32, length int) (rows [][]int32) {
	var room []int
	for _, i := range sorted {
		n := b.samples.Tokens(int(i))
		row := slices.IndexFunc(room, func(left int) bool { return left >= n })
		if row < 0 {
			row = len(rows)
			rows, room = append(rows, nil), append(room, length)
		}
		rows[row] = append(rows[row], i)
		room[row] -= n
	}
	return rows
}
