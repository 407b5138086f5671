package model

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"alphalora/internal/fault"
	"alphalora/model/quant"
	"alphalora/model/weights"

	"github.com/stretchr/testify/require"
)

// cached is the smallest decoder whose quantised projections are kept, and what names them.
var cached = Description{Family: "llama", Vocabulary: 4, Hidden: 8, Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 8, Intermediate: 16}

func quantiserOf(kind quant.Kind) quantiser { return quantiser{kind, strings.Repeat("ab", 32)} }

// cacheOf is the file of cached's projections.
func cacheOf(t testing.TB, kind quant.Kind) []byte {
	dir, rng := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	var list []weights.Tensor
	for _, p := range cached.held() {
		w, err := weights.FromFloat32s(p.Name, p.Shape, cached.initial(p.Spec, rng), weights.F32)
		require.NoError(t, err)
		list = append(list, w)
	}
	require.NoError(t, weights.Write(filepath.Join(dir, weights.SingleFile), list, nil))
	set, err := weights.Open(dir)
	require.NoError(t, err)
	defer func() { _ = set.Close() }()
	s := &stored{path: filepath.Join(dir, "cache"), quantiser: quantiserOf(kind)}
	require.NoError(t, s.write(t.Context(), cached, set))
	content, err := os.ReadFile(s.path)
	require.NoError(t, err)
	return content
}

// openCache opens bytes as the cache of a kind. What is refused is so as bad input, by the
// file's name and with the remedy.
func openCache(t testing.TB, content []byte, kind quant.Kind) (*stored, error) {
	s := &stored{path: filepath.Join(t.TempDir(), "cache"), quantiser: quantiserOf(kind)}
	require.NoError(t, os.WriteFile(s.path, content, 0o644))
	err := s.open(cached)
	if err == nil {
		return s, nil
	}
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err), err)
	require.Equal(t, 1, strings.Count(err.Error(), s.path), err)
	require.ErrorContains(t, err, again)
	require.Less(t, len(err.Error()), 8000)
	return s, err
}

// sealed writes the checksum that belongs to a file's content over its last bytes, so that a
// change is found by its own rule or not at all.
func sealed(t testing.TB, content []byte, kind quant.Kind) []byte {
	path := filepath.Join(t.TempDir(), "cache")
	require.NoError(t, os.WriteFile(path, content, 0o644))
	set, err := weights.OpenFile(path)
	if err != nil {
		return content
	}
	s := &stored{set: set, quantiser: quantiserOf(kind)}
	defer s.close()
	sum := s.sum()
	return append(bytes.Clone(content[:max(len(content)-len(sum), 0)]), sum...)
}

// FuzzStored opens any bytes as a cache, with and without the checksum that belongs to them:
// refused, or pieces that can be restored.
func FuzzStored(f *testing.F) {
	kinds := []quant.Kind{quant.Int8, quant.FourBit}
	for i, kind := range kinds {
		whole := cacheOf(f, kind)
		f.Add(whole, i == 1, false)
		f.Add(whole, i == 0, true) // the other kind's
		f.Add(whole[:len(whole)/2], i == 1, true)
		for _, change := range [][2]string{{`"version":"1"`, `"version":"2"`}, {"[8,8]", "[64]"}, {`"I8"`, `"U8"`}, {`"F32"`, `"I32"`},
			{"sha256", "sha257"}, {"[8,8]", "[9223372036854775807,9223372036854775807]"}, {"q_proj", "r_proj"}} {
			f.Add(bytes.Replace(whole, []byte(change[0]), []byte(change[1]), 1), i == 1, true)
		}
	}
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0, '{'}, true, false)
	f.Fuzz(func(t *testing.T, content []byte, fourBit, seal bool) {
		kind := quant.Int8
		if fourBit {
			kind = quant.FourBit
		}
		if seal {
			content = sealed(t, content, kind)
		}
		s, err := openCache(t, content, kind)
		if err != nil {
			return
		}
		defer s.close()
		for _, p := range cached.held() {
			if p.projects() {
				requireRestorable(t, s, p)
			}
		}
	})
}

// requireRestorable holds that the pieces of a projection are such as quantising makes.
func requireRestorable(t *testing.T, s *stored, p place) {
	pieces := s.kind.Pieces(p.Shape[0], p.Shape[1])
	for i, piece := range tensorsOf(p, pieces) {
		w, ok := s.set.Get(piece.Name)
		require.True(t, ok)
		pieces[i].Data = w.Data
		if piece.DType == weights.F32 {
			for at := 0; at < len(w.Data); at += 4 {
				v := float64(math.Float32frombits(binary.LittleEndian.Uint32(w.Data[at:])))
				require.False(t, math.IsNaN(v) || math.IsInf(v, 0))
			}
		}
		require.False(t, piece.DType == "I8" && bytes.IndexByte(w.Data, leastI8) >= 0)
	}
	require.Len(t, s.kind.Restore(pieces, p.Shape[0], p.Shape[1]), p.Shape[0]*p.Shape[1])
}

// TestHostileCaches: files whose checksum is right and whose content is not.
func TestHostileCaches(t *testing.T) {
	for _, kind := range []quant.Kind{quant.Int8, quant.FourBit} {
		whole := cacheOf(t, kind)
		require.Equal(t, whole, sealed(t, whole, kind))
		s, err := openCache(t, whole, kind)
		require.NoError(t, err)
		q := Q.WeightName(0)
		codes, _ := s.set.Get(q + quant.Codes)
		scale, ok := s.set.Get(q + quant.Scale)
		if !ok {
			scale, _ = s.set.Get(q + quant.Offset)
		}
		at := func(w weights.Tensor) int { return bytes.Index(whole, w.Data) }
		refuse := func(why string, change func(content []byte) []byte) {
			_, err := openCache(t, sealed(t, change(bytes.Clone(whole)), kind), kind)
			require.ErrorContains(t, err, why)
		}
		put := func(at int, with ...byte) func([]byte) []byte {
			return func(content []byte) []byte { copy(content[at:], with); return content }
		}
		swap := func(old, new string) func([]byte) []byte {
			require.Len(t, new, len(old))
			require.Contains(t, string(whole), old)
			return func(content []byte) []byte { return bytes.Replace(content, []byte(old), []byte(new), 1) }
		}
		refuse("value 0 of", put(at(scale), 0, 0, 0xc0, 0x7f)) // NaN
		refuse("is not finite", put(at(scale), 0, 0, 0x80, 0xff))
		if kind == quant.Int8 {
			refuse("code 3 of tensor "+q+".codes is -128 where -127 to 127 is expected", put(at(codes)+3, leastI8))
			refuse("where [8 16] is expected", swap("[8,16]", "[16,8]"))
			refuse("is in U8 where I8 is expected", swap(`"I8"`, `"U8"`))
		} else {
			refuse("where [2 32] is expected", swap("[2,32]", "[32,2]"))
		}
		refuse("its version is \"2\", needed is \"1\"", swap(`"version":"1"`, `"version":"2"`))
		refuse("its model_quant is", swap(kind.String(), "nf5!"[:len(kind.String())]))
		refuse("its base is", swap("abab", "cdcd"))
		refuse("lacks tensor "+q+".codes [", swap("q_proj.weight.codes", "q_proj.weight.kodes"))
		refuse("claims", func(content []byte) []byte { return content[:len(content)-40] })
		s.close()
	}
}

// TestWhatIsNoCache: what lies at the cache's place and is no file of one's own.
func TestWhatIsNoCache(t *testing.T) {
	whole := cacheOf(t, quant.FourBit)
	for name, c := range map[string]struct {
		lay func(path string) error
		why string // empty: it is used
	}{
		"a directory":          {func(path string) error { return os.Mkdir(path, 0o755) }, "is not a file"},
		"a pipe":               {func(path string) error { return syscall.Mkfifo(path, 0o644) }, "is not a file"},
		"an empty file":        {func(path string) error { return os.WriteFile(path, nil, 0o644) }, "0 bytes are too few"},
		"a link to itself":     {func(path string) error { return os.Symlink(path, path) }, "cannot be read: too many levels"},
		"an unreadable file":   {func(path string) error { return os.WriteFile(path, whole, 0o200) }, "cannot be read: permission denied"},
		"a link to a cache":    {func(path string) error { return linkTo(path, whole) }, ""},
		"a link to other file": {func(path string) error { return linkTo(path, []byte("12345678{}")) }, "header"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "an unreadable") && os.Geteuid() == 0 {
				t.Skip("skipped: root can read it")
			}
			s := &stored{path: filepath.Join(t.TempDir(), "cache"), quantiser: quantiserOf(quant.FourBit)}
			require.NoError(t, c.lay(s.path))
			err := s.open(cached)
			if c.why == "" {
				require.NoError(t, err)
				s.close()
				return
			}
			require.ErrorContains(t, err, s.path+": cannot be used: ")
			require.ErrorContains(t, err, c.why)
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
		})
	}
}

func linkTo(path string, content []byte) error {
	if err := os.WriteFile(path+"-real", content, 0o644); err != nil {
		return err
	}
	return os.Symlink(path+"-real", path)
}
