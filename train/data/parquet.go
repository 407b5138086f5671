package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"alphalora/internal/fault"
	"alphalora/internal/parquetfile"
)

// parquetRows is how many rows are decoded together.
const parquetRows = 64

// eachRow reads a Parquet file. A row becomes the JSON record of its columns, and goes
// the way of all others from there.
func eachRow(in *input, do emit) error {
	if err := in.hashAll(); err != nil {
		return err
	}
	number := 0
	err := guarded(func() error {
		file, err := openParquet(in)
		if err != nil {
			return err
		}
		for _, group := range file.RowGroups() {
			if err := eachRowOf(file.Schema(), group, &number, do); err != nil {
				return err
			}
		}
		return nil
	})
	var damaged errDamaged
	if errors.As(err, &damaged) {
		return fault.Input(in.path, "write or download the file again", "cannot be read as Parquet after row %d: %v", number, damaged.error)
	}
	return err
}

// errDamaged is an error of the file's, not of one row.
type errDamaged struct{ error }

// guarded turns a panic into an error: the library panics on some damaged files.
func guarded(read func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errDamaged{fmt.Errorf("%v", p)}
		}
	}()
	return read()
}

// openParquet reads the file's description.
func openParquet(in *input) (*parquet.File, error) {
	file, err := parquetfile.Open(in.f, in.info.Size())
	if err != nil {
		return nil, errDamaged{err}
	}
	return file, nil
}

func eachRowOf(schema *parquet.Schema, group parquet.RowGroup, number *int, do emit) error {
	rows := group.Rows()
	defer func() { _ = rows.Close() }()
	buffer := make([]parquet.Row, parquetRows)
	for {
		n, err := rows.ReadRows(buffer)
		for _, row := range buffer[:n] {
			*number++
			text, bad := rowText(schema, row)
			if err := do(place{number: *number}, text, bad); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errDamaged{err}
		case n == 0:
			return errDamaged{errors.New("it has fewer rows than it claims")}
		}
	}
}

// rowText writes a row as JSON.
func rowText(schema *parquet.Schema, row parquet.Row) ([]byte, error) {
	var value any
	if err := schema.Reconstruct(&value, row); err != nil {
		return nil, errDamaged{err}
	}
	if err := checkTexts(value, 0); err != nil {
		return nil, err
	}
	text, err := json.Marshal(value)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read as a record: %w", err)
	case len(text) > maxRecord:
		return nil, errLong
	}
	return text, nil
}

// checkTexts refuses what JSON would bend: bytes that are not UTF-8.
func checkTexts(value any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nests deeper than %d", maxDepth)
	}
	switch v := value.(type) {
	case string:
		if !utf8.ValidString(v) {
			return errNotText
		}
	case []any:
		for _, item := range v {
			if err := checkTexts(item, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, item := range v {
			if err := checkTexts(item, depth+1); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	return nil
}
