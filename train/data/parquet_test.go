package data

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

// The files in testdata are pyarrow's, made by testdata/make.py: another writer than the
// library that reads them here.
func TestParquet(t *testing.T) {
	samples, report, err := read(t, []string{"testdata/tokens.parquet"}, options)
	require.NoError(t, err)
	require.Equal(t, []Sample{{IDs: []int32{1, 2, 3}, Labels: []int32{Ignored, 2, 3}}, {IDs: []int32{4, 5}}}, samples)
	require.Equal(t, 2, report.Files[0].Samples)

	o := options
	o.Skip = true
	samples, report, err = read(t, []string{"testdata/text.parquet"}, o)
	require.NoError(t, err)
	require.Len(t, samples, 2)
	require.Equal(t, []int32{'n', 'o', end}, samples[0].Labels[len(samples[0].Labels)-3:])
	require.Equal(t, []string{"testdata/text.parquet (row 3): has no output (mend or remove the record)"}, report.Problems)

	samples, report, err = read(t, []string{"testdata/messages.parquet"}, o)
	require.NoError(t, err)
	require.Equal(t, "yo.", learnt(samples[0]))
	require.Equal(t, 1, report.Skipped, "the second row has no messages")

	_, _, err = read(t, []string{"testdata/bytes.parquet"}, options)
	require.EqualError(t, err, "testdata/bytes.parquet (row 1): b: is not UTF-8: convert the file (mend or remove the record)")
}

func TestManyRowGroups(t *testing.T) {
	type row struct {
		IDs    []int64 `parquet:"input_ids,list"`
		Source string  `parquet:"source"`
	}
	path := filepath.Join(t.TempDir(), "x.parquet")
	f, err := os.Create(path)
	require.NoError(t, err)
	w := parquet.NewGenericWriter[row](f, parquet.MaxRowsPerRowGroup(100))
	for i := range 1000 {
		_, err := w.Write([]row{{IDs: []int64{int64(i % 200), int64(i / 200)}, Source: "x"}})
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
	set, err := Read(t.Context(), Sources([]string{path}, nil), options)
	require.NoError(t, err)
	defer func() { _ = set.Close() }()
	require.Equal(t, 1000, set.Len())
	s, err := set.Sample(777)
	require.NoError(t, err)
	require.Equal(t, []int32{177, 3}, s.IDs)
	require.Equal(t, path+" (row 778)", set.Origin(777))
}

// Whatever is done to a file, an error comes, or all of its rows.
func TestDamagedParquet(t *testing.T) {
	content, err := os.ReadFile("testdata/tokens.parquet")
	require.NoError(t, err)
	path, refused := filepath.Join(t.TempDir(), "x.parquet"), 0
	try := func(content []byte) error {
		require.NoError(t, os.WriteFile(path, content, 0o644))
		_, _, err := read(t, []string{path}, options)
		if err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err), "%v", err)
			refused++
		}
		return err
	}
	for n := 4; n < len(content); n += 7 {
		require.ErrorContains(t, try(content[:n]), "cannot be read as Parquet after row 0", "cut at %d", n)
	}
	cut := refused
	for i := 4; i < len(content); i += 3 {
		damaged := append([]byte{}, content...)
		damaged[i] ^= 0x55
		_ = try(damaged)
	}
	require.Greater(t, refused, cut, "no damage was found")
}

func FuzzParquet(f *testing.F) {
	for _, name := range []string{"tokens", "text", "messages", "bytes"} {
		content, err := os.ReadFile("testdata/" + name + ".parquet")
		require.NoError(f, err)
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "x.parquet")
		require.NoError(t, os.WriteFile(path, append([]byte("PAR1"), content[min(4, len(content)):]...), 0o644))
		samples, _, err := read(t, []string{path}, options)
		if err == nil {
			require.NotEmpty(t, samples)
		}
	})
}

// A small file that claims much is refused before any room is made for it.
func TestParquetClaims(t *testing.T) {
	content, err := os.ReadFile("testdata/tokens.parquet")
	require.NoError(t, err)
	huge := []byte{0xfe, 0xff, 0xff, 0xff, 0x0f} // 2³¹-1 as a signed number
	path, claimed := filepath.Join(t.TempDir(), "x.parquet"), 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := 4; i < len(content)-len(huge)-8; i++ {
		damaged := append([]byte{}, content...)
		copy(damaged[i:], huge)
		require.NoError(t, os.WriteFile(path, damaged, 0o644))
		_, _, err := read(t, []string{path}, options)
		if err != nil && strings.Contains(err.Error(), "claims") {
			claimed++
		}
	}
	runtime.ReadMemStats(&after)
	require.Positive(t, claimed)
	require.Less(t, after.Sys-before.Sys, uint64(1<<30), "of memory at any time")
}
