package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
	"alphalora/internal/testkit"
)

// file builds a safetensors file of any header and body.
func file(header, body string) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), body...)
}

const two = `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I32","shape":[],"data_offsets":[8,12]}}`

func TestParse(t *testing.T) {
	list, _, err := parseHeader(file(two, strings.Repeat("\x01", 12)))
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "a", list[0].Name)
	require.Equal(t, 2, list[0].Count())
	require.Equal(t, 1, list[1].Count())
}

func TestDamagedFilesAreErrors(t *testing.T) {
	huge := binary.LittleEndian.AppendUint64(nil, 1<<62)
	entry := func(dtype, shape, offsets string) []byte {
		return file(fmt.Sprintf(`{"a":{"dtype":%q,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets), strings.Repeat("x", 8))
	}
	cases := map[string]struct {
		content []byte
		why     string
	}{
		"empty":              {nil, "too few"},
		"short":              {[]byte("abc"), "too few"},
		"huge header":        {huge, "claims"},
		"header past end":    {file(two, "")[:40], "claims"},
		"truncated body":     {file(two, "1234"), "claims bytes 0 to 8"},
		"not JSON":           {file("hello", ""), "not a JSON object"},
		"list":               {file("[]", ""), "not a JSON object"},
		"not UTF-8":          {file("{\"\xff\":1}", ""), "UTF-8"},
		"twice":              {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "xx"), "twice"},
		"unknown dtype":      {entry("F3", "[2]", "[0,8]"), "not known"},
		"wrong size":         {entry("F32", "[3]", "[0,8]"), "needs 12 bytes"},
		"negative axis":      {entry("F32", "[-2]", "[0,8]"), "not possible"},
		"overflow":           {entry("F32", "[4294967296,4294967296,4294967296]", "[0,8]"), "not possible"},
		"many axes":          {entry("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]", "[0,8]"), "axes"},
		"offsets backwards":  {entry("F32", "[0]", "[8,0]"), "claims bytes 8 to 0"},
		"offsets past end":   {entry("F32", "[2]", "[8,16]"), "claims bytes"},
		"hole":               {file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, "12345678"), "overlap or leave a hole"},
		"overlap":            {file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, "123456"), "overlap or leave a hole"},
		"bytes of no tensor": {file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, "12345678"), "belong to no tensor"},
		"unknown field":      {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, "1"), "unknown field"},
		"after the end":      {file(`{} x`, ""), "after its end"},
		"bad metadata":       {file(`{"__metadata__":{"a":1}}`, ""), "metadata"},
	}
	for name, c := range cases {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		require.NoError(t, os.WriteFile(path, c.content, 0o644))
		_, err := OpenFile(path)
		require.ErrorContains(t, err, c.why, name)
		require.ErrorContains(t, err, path, name)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), name)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(two, strings.Repeat("\x01", 12)))
	f.Add(file(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, "12345678"))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		list, _, err := parseHeader(data)
		if err != nil {
			return
		}
		total := 0
		for _, x := range list {
			total += len(x.Data)
			_ = x.CheckFinite()
			_, _ = x.Float32s()
		}
		require.LessOrEqual(t, total, len(data))
	})
}

func save(t *testing.T, dir, name string, tensors ...Tensor) {
	require.NoError(t, Write(filepath.Join(dir, name), tensors, nil))
}

func vector(t *testing.T, name string, as DType, values ...float32) Tensor {
	x, err := FromFloat32s(name, []int{len(values)}, values, as)
	require.NoError(t, err)
	return x
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	values := []float32{0, 1, -2.5, 0.125, 65504}
	save(t, dir, "model.safetensors", vector(t, "z", F32, values...), vector(t, "a", BF16, 1, 2), vector(t, "h", F16, values...))
	s, err := Open(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.Equal(t, []string{"a", "h", "z"}, s.Names())
	for _, name := range []string{"h", "z"} {
		x, ok := s.Get(name)
		require.True(t, ok)
		got, err := x.Float32s()
		require.NoError(t, err)
		require.Equal(t, values, got)
	}
	_, ok := s.Get("b")
	require.False(t, ok)
	again := filepath.Join(dir, "again.safetensors")
	var all []Tensor
	for _, name := range []string{"z", "h", "a"} {
		x, _ := s.Get(name)
		all = append(all, x)
	}
	require.NoError(t, Write(again, all, nil))
	one, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	other, err := os.ReadFile(again)
	require.NoError(t, err)
	require.True(t, bytes.Equal(one, other), "the same tensors give the same bytes")
}

// TestBytes holds the layout itself.
func TestBytes(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "x", vector(t, "a", F32, 1))
	got, err := os.ReadFile(filepath.Join(dir, "x"))
	require.NoError(t, err)
	require.Equal(t, file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  `, "\x00\x00\x80\x3f")[8:], got[8:])
	require.Zero(t, (len(got)-4)%8, "the data begin at a multiple of eight")
}

// TestRounding holds the narrow formats against the nearest value by search.
func TestRounding(t *testing.T) {
	for _, as := range []DType{F16, BF16} {
		wide := func(bits uint16) float32 {
			x := Tensor{DType: as, Data: binary.LittleEndian.AppendUint16(nil, bits)}
			v, err := x.Float32s()
			require.NoError(t, err)
			return v[0]
		}
		for _, v := range []float32{0, 1, 1.0004883, 1.0014648, 3.14159, -1e-7, 6e-8, 2.98e-8, 6.1e-5, 1e-40, 65519, 1234.5} {
			if as == F16 && v == 0 {
				continue
			}
			got := vector(t, "x", as, v)
			bits := binary.LittleEndian.Uint16(got.Data)
			here := math.Abs(float64(wide(bits)) - float64(v))
			for _, near := range []uint16{bits - 1, bits + 1} {
				other := float64(wide(near))
				if math.IsNaN(other) || math.IsInf(other, 0) {
					continue
				}
				distance := math.Abs(other - float64(v))
				require.True(t, here < distance || here == distance && bits&1 == 0, "%s of %v", as, v)
			}
		}
	}
	_, err := FromFloat32s("x", []int{1}, []float32{70000}, F16)
	require.ErrorContains(t, err, "too large for F16")
	inf := float32(math.Inf(1))
	for _, as := range []DType{F32, F16, BF16} {
		require.ErrorContains(t, vector(t, "w", as, 1, float32(math.NaN())).CheckFinite(), "value 1 of 2 is not finite", as)
		require.ErrorContains(t, vector(t, "w", as, inf).CheckFinite(), "tensor w", as)
		require.NoError(t, vector(t, "w", as, 1, -1, 0).CheckFinite())
	}
}

func TestCheckTellsEverything(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "model.safetensors", vector(t, "layer.weight", F32, 1, 2), vector(t, "extra", F32, 1))
	s, err := Open(dir)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	err = s.Check([]Spec{{Name: "layer.weight", Shape: []int{3}}, {Name: "layer.weights", Shape: []int{1}}, {Name: "head", Shape: []int{1}, Optional: true}})
	for _, part := range []string{"tensor layer.weight is [2] where [3] is expected", "lacks tensor layer.weights [1] (there is layer.weight)",
		"tensor extra [1] is not expected", filepath.Join(dir, "model.safetensors")} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), "head")
	require.NoError(t, s.Check([]Spec{{Name: "layer.weight", Shape: []int{2}}, {Name: "extra", Shape: []int{1}}}))
}

// TestCheckStaysShort: names that a hostile file makes long or many are neither told whole nor
// compared letter by letter, which would take hours.
func TestCheckStaysShort(t *testing.T) {
	dir := t.TempDir()
	list := []Tensor{vector(t, strings.Repeat("x", 1<<20), F32, 1)}
	for i := range 2000 {
		list = append(list, vector(t, fmt.Sprintf("y%d", i), F32, 1))
	}
	save(t, dir, "model.safetensors", list...)
	s, err := Open(dir)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	want := make([]Spec, 5000)
	for i := range want {
		want[i] = Spec{Name: fmt.Sprintf("model.layers.%d.self_attn.q_proj.weight", i), Shape: []int{1}}
	}
	err = s.Check(want)
	require.ErrorContains(t, err, "lacks tensor model.layers.0.self_attn.q_proj.weight [1]; ")
	require.ErrorContains(t, err, "and 6993 more")
	require.Less(t, len(err.Error()), 2000)
	err = s.Check(nil)
	require.Less(t, len(err.Error()), 2000)
}

func TestShards(t *testing.T) {
	whole, parts := t.TempDir(), t.TempDir()
	a, b := vector(t, "a", F32, 1, 2), vector(t, "b", BF16, 3)
	save(t, whole, "model.safetensors", a, b)
	save(t, parts, "one.safetensors", b)
	save(t, parts, "two.safetensors", a)
	index := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(parts, "model.safetensors.index.json"), []byte(text), 0o644))
	}
	index(`{"weight_map":{"a":"two.safetensors","b":"one.safetensors"}}`)
	x, err := Open(whole)
	require.NoError(t, err)
	defer func() { _ = x.Close() }()
	y, err := Open(parts)
	require.NoError(t, err)
	defer func() { _ = y.Close() }()
	require.Equal(t, x.Fingerprint(), y.Fingerprint(), "sharding does not change the fingerprint")

	for text, why := range map[string]string{
		`{"weight_map":{"a":"../two.safetensors"}}`:                    "not a plain file name",
		`{"weight_map":{"a":"three.safetensors"}}`:                     "cannot be read",
		`{"weight_map":{"a":"two.safetensors","b":"two.safetensors"}}`: "lacks tensor b",
		`{"weight_map":{"a":"one.safetensors","b":"one.safetensors"}}`: "lacks tensor a",
		`{"weight_map":{"c":"two.safetensors","b":"one.safetensors"}}`: "holds tensor a",
		`{"weight_map":{}}`: "no weight_map",
		`{`:                 "index.json",
	} {
		index(text)
		_, err := Open(parts)
		require.ErrorContains(t, err, why, text)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), text)
	}
}

func TestWriteLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	err := Write(filepath.Join(dir, "absent", "x"), []Tensor{vector(t, "a", F32, 1)}, nil)
	require.ErrorContains(t, err, "cannot be written")
	require.ErrorContains(t, Write(filepath.Join(dir, "x"), []Tensor{vector(t, "a", F32, 1), vector(t, "a", F32, 1)}, nil), "twice")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	_, err = Open(dir)
	require.ErrorContains(t, err, "holds neither")
}

func TestReferenceFiles(t *testing.T) {
	checked := 0
	for _, name := range []string{"llama", "mistral", "gemma", "spectral"} {
		s, err := Open(testkit.Shared(t, "reference", name))
		require.NoError(t, err)
		for _, tensor := range s.Names() {
			x, _ := s.Get(tensor)
			require.NoError(t, x.CheckFinite())
			checked++
		}
		require.NoError(t, s.Close())
	}
	require.Greater(t, checked, 100)
}

// TestStreamIsWrite makes the bytes one tensor at a time: the same file, and a tensor of
// another size is an error.
func TestStreamIsWrite(t *testing.T) {
	dir := t.TempDir()
	var list []Tensor
	for _, name := range []string{"b", "a", "c"} {
		v, err := FromFloat32s(name, []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}, BF16)
		require.NoError(t, err)
		list = append(list, v)
	}
	whole, streamed := filepath.Join(dir, "whole"), filepath.Join(dir, "streamed")
	require.NoError(t, Write(whole, list, nil))
	var order []string
	bare := make([]Tensor, len(list))
	for i, v := range list {
		bare[i] = Tensor{Name: v.Name, DType: v.DType, Shape: v.Shape}
	}
	require.NoError(t, Stream(streamed, bare, nil, func(v Tensor) ([]byte, error) {
		order = append(order, v.Name)
		return list[0].Data, nil
	}))
	require.Equal(t, []string{"a", "b", "c"}, order)
	a, err := os.ReadFile(whole)
	require.NoError(t, err)
	b, err := os.ReadFile(streamed)
	require.NoError(t, err)
	require.Equal(t, a, b)
	err = Stream(filepath.Join(dir, "short"), bare, nil, func(Tensor) ([]byte, error) { return []byte{1}, nil })
	require.ErrorContains(t, err, "tensor a: 1 bytes for shape [2 3] of BF16")
	require.NoFileExists(t, filepath.Join(dir, "short"))
}
