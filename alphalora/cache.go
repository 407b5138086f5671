package alphalora

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"

	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
)

// Cache keeps spectra in a directory, one file for each, so that a matrix is solved once:
// a second run, another estimator or the rest of an interrupted run find them there.
//
// A file's name is the SHA-256 of the matrix (its bytes, format and shape), of the
// precision and of what was solved (the whole matrix, or an estimator's windows). It holds
//
//	magic [8], count uint64, count float64 (all little-endian), SHA-256 of all that [32]
//
// and is written whole or not at all. A file that does not check is solved again.
type Cache struct {
	dir string
	// Warn, if not nil, is told of damaged files, and of the first that cannot be written.
	Warn func(message string)

	unwritable sync.Once
}

// cacheMagic is another one whenever spectra are computed differently.
const cacheMagic = "alphaSP1"

// OpenCache returns the cache in dir, which is made where it is absent.
func OpenCache(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Input("cache "+dir, "name another directory, or none", "cannot be made: %v", fault.Reason(err))
	}
	return &Cache{dir: dir}, nil
}

func (c *Cache) path(key string) string { return filepath.Join(c.dir, key+".spectrum") }

// get returns the eigenvalues kept under key, of which there must be count.
func (c *Cache) get(key string, count int) ([]float64, bool) {
	if c == nil {
		return nil, false
	}
	data, err := readAtMost(c.path(key), 16+8*count+sha256.Size)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	var lambda []float64
	if err == nil {
		lambda, err = decodeSpectrum(data, count)
	}
	if err != nil {
		c.warn("%s: %v; the spectrum is computed again", c.path(key), err)
		return nil, false
	}
	return lambda, true
}

// put keeps eigenvalues. A cache that cannot be written costs time, not the result.
func (c *Cache) put(key string, lambda []float64) {
	if c == nil {
		return
	}
	if err := atomicfile.WriteBytes(c.path(key), encodeSpectrum(lambda)); err != nil {
		c.unwritable.Do(func() { c.warn("%v; what cannot be written is not kept, and not told again", err) })
	}
}

func (c *Cache) warn(format string, args ...any) {
	if c.Warn != nil {
		c.Warn(fmt.Sprintf(format, args...))
	}
}

// readAtMost reads a file that may have limit bytes; of a longer one, one more.
func readAtMost(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data := make([]byte, limit+1)
	read := 0
	for read < len(data) {
		n, err := f.Read(data[read:])
		read += n
		if err != nil {
			break // the end, or what the checksum will find
		}
	}
	return data[:read], nil
}

func encodeSpectrum(lambda []float64) []byte {
	out := make([]byte, 0, 16+8*len(lambda)+sha256.Size)
	out = append(out, cacheMagic...)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(lambda)))
	for _, x := range lambda {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(x))
	}
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// decodeSpectrum is the inverse of encodeSpectrum for so many eigenvalues.
func decodeSpectrum(data []byte, count int) ([]float64, error) {
	body := len(data) - sha256.Size
	if body != 16+8*count {
		return nil, fmt.Errorf("has %d bytes where %d are expected", len(data), 16+8*count+sha256.Size)
	}
	sum := sha256.Sum256(data[:body])
	if !bytes.Equal(sum[:], data[body:]) || string(data[:8]) != cacheMagic || binary.LittleEndian.Uint64(data[8:]) != uint64(count) {
		return nil, errors.New("is damaged (its checksum does not match)")
	}
	lambda := make([]float64, count)
	for i := range lambda {
		lambda[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[16+8*i:]))
		if !(lambda[i] >= 0) || math.IsInf(lambda[i], 0) || i > 0 && lambda[i] < lambda[i-1] {
			return nil, errors.New("holds no ascending spectrum")
		}
	}
	return lambda, nil
}

// digest is the SHA-256 of a matrix's format, shape and bytes.
func digest(m Matrix, data []byte) []byte {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s %d %d\n", m.DType, m.Rows, m.Cols)
	_, _ = h.Write(data)
	return h.Sum(nil)
}

// cacheKey names what is solved of a matrix.
func cacheKey(matrix []byte, p Precision, part string) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%x %s %q", matrix, p, part)
	return hex.EncodeToString(h.Sum(nil))
}
