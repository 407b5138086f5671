package parquetfile

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/stretchr/testify/require"
)

type record struct {
	N int64 `parquet:"n,plain"`
}

const (
	rows     = 5000
	unpacked = 8 * rows // bytes of the one page, which pack well
)

// packed writes a file with one page that a codec has packed.
func packed(t testing.TB, codec compress.Codec, version int) []byte {
	var out bytes.Buffer
	w := parquet.NewGenericWriter[record](&out, parquet.Compression(codec), parquet.DataPageVersion(version))
	_, err := w.Write(make([]record, rows))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// claiming changes the unpacked size that the header of the page claims.
func claiming(t testing.TB, content []byte, size int64) []byte {
	varint := func(n int64) []byte { return binary.AppendVarint(nil, n) }
	was, now := varint(unpacked), varint(size)
	require.Equal(t, len(was), len(now))
	require.Contains(t, string(content[4:40]), string(was), "the header of the first page")
	return append(append([]byte{}, content[:4]...), bytes.Replace(content[4:], was, now, 1)...)
}

var codecs = []compress.Codec{&parquet.Gzip, &parquet.Zstd, &parquet.Brotli, &parquet.Lz4Raw, &parquet.Snappy}

func open(content []byte) error {
	_, err := Open(bytes.NewReader(content), int64(len(content)))
	return err
}

// TestPagesUnpackToWhatTheyClaim refuses a page that unpacks to more, and takes one that is
// right, of each codec and version.
func TestPagesUnpackToWhatTheyClaim(t *testing.T) {
	checked := 0
	for _, codec := range codecs {
		for _, version := range []int{1, 2} {
			content := packed(t, codec, version)
			require.NoError(t, open(content), "%v, version %d", codec, version)
			require.NoError(t, open(claiming(t, content, unpacked+1)), "a page may claim too much")
			require.ErrorContains(t, open(claiming(t, content, unpacked-1)), "claims", "%v, version %d", codec, version)
			checked++
		}
	}
	require.Equal(t, 10, checked)
}

// TestDamagedPagesEnd flips each byte of the packed page: an LZ4 block that does not unpack
// would be tried in ever larger rooms.
func TestDamagedPagesEnd(t *testing.T) {
	for _, codec := range codecs {
		content, refused := packed(t, codec, 1), 0
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.Less(t, len(content), 4000)
		for i := 4; i < len(content); i++ {
			damaged := append([]byte{}, content...)
			damaged[i] ^= 0x5a
			if open(damaged) != nil {
				refused++
			}
		}
		runtime.ReadMemStats(&after)
		require.Positive(t, refused, "%v", codec)
		require.Less(t, after.Sys-before.Sys, uint64(3*maxPage), "%v: memory", codec)
	}
}

func FuzzOpen(f *testing.F) {
	for _, codec := range codecs {
		content := packed(f, codec, 1)
		f.Add(content)
		f.Add(claiming(f, content, unpacked/2))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := Open(bytes.NewReader(content), int64(len(content)))
		if err == nil {
			require.NotNil(t, file.Schema())
		}
	})
}
