package data

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// epoch counts how often each sample comes in one.
func epoch(n *next) (times map[int]int, order []int) {
	times = map[int]int{}
	for range n.StepsPerEpoch() {
		for _, m := range n.Next() {
			for _, row := range m.Samples {
				for _, i := range row {
					times[i]++
					order = append(order, i)
				}
			}
		}
	}
	return times, order
}

func TestWeights(t *testing.T) {
	var n []int
	for range 30 {
		n = append(n, 4)
	}
	shares := []Share{{0, 10, 1}, {10, 20, 2.3}, {20, 30, 0.5}}
	b := batcher(t, lengths(n...), Plan{Batch: 4, Micro: 4, Shares: shares, Seed: 3})
	require.Equal(t, 10+23+5, b.EpochSize())
	drawn := map[int]bool{}
	for range 40 {
		times, order := epoch(b)
		sums := [3]int{}
		for i, times := range times {
			sums[i/10] += times
			if i >= 10 && i < 20 {
				require.Contains(t, []int{2, 3}, times)
			} else {
				require.Equal(t, 1, times)
			}
			if i >= 20 {
				drawn[i] = true
			}
		}
		require.Equal(t, [3]int{10, 23, 5}, sums)
		require.Equal(t, []int{0, 1, 2, 3}, order[:4], "file order")
	}
	require.Len(t, drawn, 10, "other draws each epoch")
	_, first := epoch(batcher(t, lengths(n...), Plan{Batch: 4, Micro: 4, Shares: shares, Seed: 3, Shuffle: true}))
	_, again := epoch(batcher(t, lengths(n...), Plan{Batch: 4, Micro: 4, Shares: shares, Seed: 3, Shuffle: true}))
	require.Equal(t, first, again)
	_, err := NewBatcher(List(lengths(2, 3)), Plan{Batch: 1, Micro: 1, Shares: []Share{{0, 2, 0.1}}})
	require.ErrorContains(t, err, "data.weights: leave no sample in an epoch")
}

// A weight of one is no draw: the order is that without weights.
func TestWholeWeightsChangeNoOrder(t *testing.T) {
	samples := lengths(5, 9, 2, 7, 3, 8, 4, 6, 11)
	plan := Plan{Batch: 2, Micro: 1, Shuffle: true, GroupByLength: true, Seed: 9}
	a := batcher(t, samples, plan)
	plan.Shares = []Share{{0, 4, 1}, {4, 9, 1}}
	b := batcher(t, samples, plan)
	for range 12 {
		require.Equal(t, a.Next(), b.Next())
	}
}

// unpack is the samples of a packed batch by number, as its segments tell them.
func unpack(t *testing.T, m Batch, into map[int]Sample) {
	for row := range m.Rows {
		segment := int32(0)
		for i := range m.Length {
			at := row*m.Length + i
			now := m.Segments[at]
			if i >= int(m.Lengths[row]) {
				require.Zero(t, now, "padding")
				require.EqualValues(t, Ignored, m.Labels[at])
				continue
			}
			if now != segment {
				require.Equal(t, segment+1, now)
				require.EqualValues(t, Ignored, m.Labels[at], "nothing before it belongs to a first token")
				segment = now
			}
			number := m.Samples[row][segment-1]
			s := into[number]
			s.IDs, s.Labels = append(s.IDs, m.IDs[at]), append(s.Labels, m.Labels[at])
			into[number] = s
		}
		require.Len(t, m.Samples[row], int(segment))
	}
}

// Packed or not, a step learns the same samples with the same targets.
func TestPackedStepsLearnTheSame(t *testing.T) {
	var n []int
	for i := range 61 {
		n = append(n, 2+i*i*7%90)
	}
	samples := lengths(n...)
	samples[3].Labels = make([]int32, len(samples[3].IDs))
	samples[3].Labels[0] = Ignored
	plan := Plan{Batch: 16, Micro: 4, Shuffle: true, Seed: 4}
	plain := batcher(t, samples, plan)
	plan.Pack = 90
	packed := batcher(t, samples, plan)
	shapes, positions := map[int]bool{}, [2]int{}
	for range 3 * plain.StepsPerEpoch() {
		targets := [2]int{}
		got := map[int]Sample{}
		for _, m := range packed.Next() {
			require.Equal(t, 4, m.Rows)
			shapes[m.Length] = true
			targets[0], positions[0] = targets[0]+m.Targets, positions[0]+len(m.IDs)
			unpack(t, m, got)
		}
		count := 0
		for _, m := range plain.Next() {
			require.Nil(t, m.Segments)
			targets[1], positions[1] = targets[1]+m.Targets, positions[1]+len(m.IDs)
			for row, numbers := range m.Samples {
				if len(numbers) == 0 {
					continue
				}
				count++
				s, want := got[numbers[0]], samples[numbers[0]]
				require.Equal(t, want.IDs, s.IDs)
				from := row*m.Length + 1
				require.Equal(t, m.Labels[from:from+len(s.IDs)-1], s.Labels[1:])
			}
		}
		require.Len(t, got, count)
		require.Equal(t, targets[1], targets[0])
	}
	require.LessOrEqual(t, len(shapes), 3, "%v", shapes)
	require.Less(t, 3*positions[0], 2*positions[1], "padding is saved")
}

func TestFeed(t *testing.T) {
	before := runtime.NumGoroutine()
	samples := lengths(5, 9, 2, 7, 3, 8, 4, 6, 11)
	plan := Plan{Batch: 2, Micro: 1, Shuffle: true, Seed: 9}
	want := batcher(t, samples, plan)
	want.step = 3
	feed := batcher(t, samples, plan).Start(3)
	for range 20 {
		got, err := feed.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, want.Next(), got)
	}
	require.Positive(t, feed.Waited())
	feed.Stop()
	feed.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := (&Feed{}).Next(ctx)
	require.ErrorIs(t, err, context.Canceled)

	broken := errors.New("broken")
	b, err := NewBatcher(failing{List(samples), broken}, plan)
	require.NoError(t, err)
	feed = b.Start(0)
	for range 2 {
		_, err = feed.Next(t.Context())
		require.ErrorIs(t, err, broken, "the error stays")
	}
	feed.Stop()
	requireGoroutines(t, before)
}

// failing has samples that cannot be read.
type failing struct {
	List
	err error
}

func (f failing) Sample(int) (Sample, error) { return Sample{}, f.err }

func TestEveryFormOfLabelsIsStored(t *testing.T) {
	set, err := newSet(t.TempDir())
	require.NoError(t, err)
	set.Files, set.firsts, set.forms = []File{{Path: "x"}}, []int{0}, []layout{linesLayout}
	samples := []Sample{
		{IDs: []int32{0, 1, 2}},
		{IDs: []int32{0, 1, 2}, Labels: []int32{Ignored, Ignored, 2}},
		{IDs: []int32{5, 6}, Labels: []int32{Ignored, 7}},
		{IDs: []int32{1<<31 - 1, 6}, Labels: []int32{1<<31 - 1, Ignored}},
	}
	for i, s := range samples {
		require.NoError(t, set.add(s, i))
	}
	require.NoError(t, set.seal())
	for i, want := range samples {
		got, err := set.Sample(i)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.NoError(t, set.Close())
	_, err = set.Sample(2)
	require.ErrorContains(t, err, "sample 2 (x:2): its tokens are not read")
}
