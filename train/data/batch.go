package data

// Ignored is the label of a position that carries no loss.
const Ignored = -100

// Batch is a micro-batch ready for the device: row-major, padded on the right.
type Batch struct {
	IDs, Labels []int32 // [Rows, Length]; Labels is Ignored where there is no loss
	// Segments [Rows, Length] numbers the samples of packed rows from 1, 0 being padding;
	// nil where each row holds one sample. The label of a sample's first token is Ignored
	// then, as no token before it belongs to it.
	Segments     []int32
	Lengths      []int32 // [Rows] real tokens; 0 for a row that only fills the shape
	Rows, Length int
	Targets      int     // tokens after a sample's first that carry loss
	Samples      [][]int // [Rows] the numbers of the samples in each row
}

// Tokens is the number of real tokens.
func (b Batch) Tokens() int {
	n := 0
	for _, l := range b.Lengths {
		n += int(l)
	}
	return n
}

// newBatch is empty rows.
func newBatch(rows, length int) Batch {
	m := Batch{Rows: rows, Length: length, IDs: make([]int32, rows*length), Labels: make([]int32, rows*length),
		Lengths: make([]int32, rows), Samples: make([][]int, rows)}
	for i := range m.Labels {
		m.Labels[i] = Ignored
	}
	return m
}

// put lays a sample behind what a row holds.
func (m *Batch) put(row, number int, s Sample) {
	labels := s.Labels
	if labels == nil {
		labels = s.IDs
	}
	at := row*m.Length + int(m.Lengths[row])
	copy(m.IDs[at:], s.IDs)
	copy(m.Labels[at:], labels)
	m.Lengths[row] += int32(len(s.IDs))
	m.Targets += s.targets()
	m.Samples[row] = append(m.Samples[row], number)
	if m.Segments != nil {
		m.Labels[at] = Ignored
		for i := range s.IDs {
			m.Segments[at+i] = int32(len(m.Samples[row]))
		}
	}
}

// padded lays samples out as one micro-batch, a row each; missing rows stay empty.
func (b *Batcher) padded(part []int32) (Batch, error) {
	longest := 1
	for _, i := range part {
		longest = max(longest, b.samples.Tokens(int(i)))
	}
	m := newBatch(b.plan.Micro, Bucket(longest))
	for row, i := range part {
		s, err := b.samples.Sample(int(i))
		if err != nil {
			return m, err
		}
		m.put(row, int(i), s)
	}
	return m, nil
}

// Bucket rounds a length up to one of few: steps of 32 to 128, of 64 to 512, of 256 above.
func Bucket(length int) int {
	grain := 256
	switch {
	case length <= 128:
		grain = 32
	case length <= 512:
		grain = 64
	}
	return (length + grain - 1) / grain * grain
}
