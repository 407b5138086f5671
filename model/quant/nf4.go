package quant

import (
	"encoding/binary"
	"math"
)

// Block is how many values share a size; Nested how many sizes share one.
const (
	Block  = 64
	Nested = 256
)

// NF4 are the levels of four bits: where the normal distribution is cut into shares that are
// alike, eight of them above 0 and seven below, divided by the largest. Source: Dettmers et
// al., QLoRA, 2023, appendix E.
var NF4 = []float32{-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
	-0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
	0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1}

// Dynamic are the levels of eight bits with an exponent of moving length: between powers of
// ten from 1e-7 to 1, below each 2^i means of equal parts of [0.1, 1], the same below 0, and
// 0 and 1. Source: Dettmers et al., 2022.
var Dynamic = dynamic()

func dynamic() []float32 {
	levels := make([]float32, 0, 256)
	for i := 6; i >= 0; i-- {
		for j := 1<<i - 1; j >= 0; j-- {
			levels = append(levels, -dynamicLevel(i, j))
		}
	}
	levels = append(levels, 0)
	for i := range 7 {
		for j := range 1 << i {
			levels = append(levels, dynamicLevel(i, j))
		}
	}
	return append(levels, 1)
}

func dynamicLevel(i, j int) float32 {
	return float32(math.Pow10(i-6) * (0.1 + 0.9*(float64(j)+0.5)/float64(int(1)<<i)))
}

var nf4Middles, dynamicMiddles = middles(NF4), middles(Dynamic)

// quantiseBlocks fills codes, absmax, nested and offset.
func quantiseBlocks(values []float32, list []Piece) {
	codes := list[0].Data
	sizes := make([]float32, len(list[1].Data))
	share(len(sizes), func(from, to int) {
		for b := from; b < to; b++ {
			block := values[b*Block : min((b+1)*Block, len(values))]
			sizes[b] = largest(block)
			packBlock(block, sizes[b], codes[b*Block/2:(b+1)*Block/2])
		}
	})
	nest(sizes, list[1].Data, list[2].Data, list[3].Data)
}

// packBlock quantises a block of a size. What lies behind a shorter one is 0.
func packBlock(block []float32, size float32, codes []byte) {
	factor := 1 / max(size, 1e-38)
	const zero = 7
	for i := range codes {
		codes[i] = zero<<4 | zero
	}
	for i, v := range block {
		code := nearest(nf4Middles, max(-1, min(1, v*factor)))
		if i%2 == 0 {
			codes[i/2] = code<<4 | codes[i/2]&15
		} else {
			codes[i/2] = codes[i/2]&0xf0 | code
		}
	}
}

// nest quantises the blocks' sizes.
func nest(sizes []float32, codes, nested, offset []byte) {
	sum := 0.0
	for _, s := range sizes {
		sum += float64(s)
	}
	mean := float32(sum / float64(max(len(sizes), 1)))
	binary.LittleEndian.PutUint32(offset, math.Float32bits(mean))
	for i := range sizes {
		sizes[i] -= mean
	}
	for n := 0; n*Nested < len(sizes); n++ {
		part := sizes[n*Nested : min((n+1)*Nested, len(sizes))]
		size := largest(part)
		binary.LittleEndian.PutUint32(nested[4*n:], math.Float32bits(size))
		factor := 1 / max(size, 1e-38)
		for i, s := range part {
			codes[n*Nested+i] = nearest(dynamicMiddles, max(-1, min(1, s*factor)))
		}
	}
}

func restoreBlocks(list []Piece, values []float32) {
	codes, absmax, nested := list[0].Data, list[1].Data, list[2].Data
	offset := math.Float32frombits(binary.LittleEndian.Uint32(list[3].Data))
	for b, code := range absmax {
		size := Dynamic[code]*math.Float32frombits(binary.LittleEndian.Uint32(nested[b/Nested*4:])) + offset
		for i := b * Block; i < min((b+1)*Block, len(values)); i++ {
			values[i] = NF4[codes[i/2]>>(4*(1-i%2))&15] * size
		}
	}
}
