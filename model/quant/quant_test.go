package quant

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// ppf is the quantile of the standard normal distribution.
func ppf(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

// TestNF4IsWhatQuantilesGive derives the published levels: eight cuts of equal probability
// above the middle and seven below it, from the quantile 0.9677083 on.
func TestNF4IsWhatQuantilesGive(t *testing.T) {
	const most = 0.9677083
	levels := []float64{0}
	for i := range 8 {
		levels = append(levels, ppf(most+(0.5-most)*float64(i)/8))
	}
	for i := range 7 {
		levels = append(levels, -ppf(most+(0.5-most)*float64(i)/7))
	}
	slices.Sort(levels)
	require.Len(t, levels, len(NF4))
	for i, want := range levels {
		require.InDelta(t, want/levels[15], NF4[i], 1e-6, "level %d", i)
	}
}

func TestDynamicLevels(t *testing.T) {
	require.Len(t, Dynamic, 256)
	require.True(t, slices.IsSorted(Dynamic))
	require.Equal(t, float32(1), Dynamic[255])
	require.Equal(t, float32(0), Dynamic[127])
	for i := range 127 {
		require.Equal(t, -Dynamic[i], Dynamic[254-i], "the levels but for 1 are alike on both sides")
	}
	require.InDelta(t, 0.55e-6, Dynamic[128], 1e-12, "the middle of [0.1, 1], at the smallest power")
	require.InDelta(t, 0.1+0.9*127/128, Dynamic[254], 1e-6)
}

// TestBlockByHand: what a block of 64 becomes, byte by byte.
func TestBlockByHand(t *testing.T) {
	values := make([]float32, 2*Block)
	values[0], values[1], values[2], values[3] = 2, -2, 1, -1 // over 2: 1, -1, 0.5, -0.5
	values[Block] = 4
	list := FourBit.Quantise(values, 2, Block)
	codes := list[0].Data
	require.Equal(t, []int{2, 32}, list[0].Shape)
	require.Equal(t, byte(15<<4), codes[0])
	require.Equal(t, byte(12<<4|2), codes[1], "0.5 is between 0.441 and 0.563, -0.5 between -0.525 and -0.395")
	require.Equal(t, byte(7<<4|7), codes[2])
	require.Equal(t, float32(3), number(list[3].Data), "the mean of the sizes 2 and 4")
	require.Equal(t, float32(1), number(list[2].Data), "their largest distance from it")
	require.Equal(t, []byte{0, 255}, list[1].Data, "-1 is nearest to the lowest level, and 1 is one")
	back := FourBit.Restore(list, 2, Block)
	require.Equal(t, float32(4), back[Block])
	low := float32(3) + Dynamic[0]
	require.InDelta(t, low, back[0], 1e-6)
	require.InDelta(t, low*NF4[12], back[2], 1e-6)
}

func TestRowsByHand(t *testing.T) {
	list := Int8.Quantise([]float32{127, -63.4, 0.5, 1.5, 0, 0, 0, 0}, 2, 4)
	require.Equal(t, []byte{127, byte(0x100 - 63), 0, 2, 0, 0, 0, 0}, list[0].Data, "halves go to the even code")
	require.Equal(t, float32(1), number(list[1].Data))
	require.Equal(t, float32(0), number(list[1].Data[4:]))
	require.Equal(t, []float32{127, -63, 0, 2, 0, 0, 0, 0}, Int8.Restore(list, 2, 4))
}

func number(data []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(data)) }

// TestErrorsStayWithinTheirBounds: half a step of a row in int8; in nf4 half the widest gap
// of the levels and what the block's size is off by, which is at most half the widest gap of
// the 256 levels times its block's.
func TestErrorsStayWithinTheirBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const out, in = 24, 97 // no multiple of a block
	values := make([]float32, out*in)
	for i := range values {
		values[i] = float32(rng.NormFloat64() * math.Exp(rng.NormFloat64()))
	}
	list := Int8.Quantise(values, out, in)
	for i, v := range Int8.Restore(list, out, in) {
		require.LessOrEqual(t, math.Abs(float64(v-values[i])), 0.5001*float64(number(list[1].Data[i/in*4:])))
	}
	list = FourBit.Quantise(values, out, in)
	nested := float64(number(list[2].Data))
	checked := 0
	for i, v := range FourBit.Restore(list, out, in) {
		b := i / Block
		size := float64(largest(values[b*Block : min((b+1)*Block, len(values))]))
		off := nested * widest(Dynamic) / 2
		require.LessOrEqual(t, math.Abs(float64(v-values[i])), size*widest(NF4)/2+off+1e-5)
		checked++
	}
	require.Equal(t, out*in, checked)
}

func widest(levels []float32) float64 {
	gap := float32(0)
	for i := range len(levels) - 1 {
		gap = max(gap, levels[i+1]-levels[i])
	}
	return float64(gap)
}

func TestSizes(t *testing.T) {
	require.Equal(t, 4096*4096+4*4096, Int8.Bytes(4096, 4096))
	blocks := 4096 * 4096 / Block
	require.Equal(t, blocks*32+blocks+blocks/Nested*4+4, FourBit.Bytes(4096, 4096))
	require.InDelta(t, 4.127, float64(8*FourBit.Bytes(4096, 4096))/(4096*4096), 1e-3)
	require.Zero(t, None.Bytes(4096, 4096))
	for _, k := range []Kind{Int8, FourBit} {
		total := 0
		for _, p := range k.Quantise(make([]float32, 35), 5, 7) {
			total += len(p.Data)
		}
		require.Equal(t, k.Bytes(5, 7), total)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"none", "int8", "nf4"} {
		kind, err := Parse(name)
		require.NoError(t, err)
		require.Equal(t, name, kind.String())
	}
	for _, name := range []string{"", "int4", "NF4"} {
		_, err := Parse(name)
		require.ErrorContains(t, err, "use none, int8 or nf4")
	}
}
