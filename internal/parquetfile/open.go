// Package parquetfile opens Parquet files of strangers with the parquet-go library, which
// makes room for whatever sizes a file claims: here those claims are held against the file
// and against bounds first (claims.go).
package parquetfile

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// Open reads the description of a file of size bytes. Reading its rows can still panic,
// in the caller's goroutine, where a page is damaged.
func Open(r io.ReaderAt, size int64) (file *parquet.File, err error) {
	defer func() { // the library panics at some damaged descriptions
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("%v", p)
		}
	}()
	if err := checkFooter(r, size); err != nil {
		return nil, err
	}
	file, err = parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	return file, checkColumns(r, size, file)
}
